"""What goes wrong for users: each ends with its exit code, a message that says what to do, and nothing lost."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import edge_run, edge_run_line, records_of

Clip = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("models")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no source"),
        (["--source", "sample", "--model", "mesh-chain", "--precision", "int8"], 4, "package 'mesh-chain' has no int8 networks: it offers fp32"),
        (["--source", "sample", "--smooth", "hmm"], 2, "not yet: --smooth hmm"),
        (["--source", "sample", "--display", "web:80"], 2, "not yet: --display web:80"),
        (["--source", "sample", "--slo-ms", "50"], 2, "not yet: --slo-ms"),
        (["--source", "sample", "--output", "mqtt://host/topic"], 2, "MQTT is not yet available"),
        (["--source", "sample", "--source", "b.mp4"], 2, "not yet: several sources in one run\n  start edge-run once for each; --source is given twice"),
        (["--camera", "0", "--camera", "1"], 2, "not yet: several sources in one run"),
        (["--camera", "0", "--source", "b.mp4"], 2, "not allowed with argument"),
        (["--source", "sample", "--model", "a", "--model", "b"], 2, "--model is given twice: a and b\n  leave one of them out"),
        (["--source", "sample", "--roi", "0,0,9,9", "--roi", "0,0,9,9"], 2, "--roi is given twice"),
        (["--source", "sample", "--config", "a.toml", "--config", "b.toml"], 2, "--config is given twice: a.toml and b.toml"),
        (["--source", "sample", "--time-constant", "0"], 2, "seconds > 0"),
        (["--source", "sample", "--roi", "5,5,1,1"], 2, "L < R and T < B"),
        (["--source", "sample", "--max-faces", "0"], 2, "at least 1"),
        (["--source", "sample", "--output", "/nowhere/out.jsonl"], 2, "/nowhere does not exist"),
        (["--source", "sample", "--summary", "/nowhere/s.json"], 2, "/nowhere does not exist"),
        (["--source", "sample", "--model", "absent"], 4, "python -m converters pull absent"),
        (["--source", "/nowhere/clip.mp4"], 5, "/nowhere/clip.mp4"),
        (["--camera", "97"], 5, "/dev/video97"),
        (["--source", "rtsp://127.0.0.1:9/none"], 5, "127.0.0.1:9"),
        (["--source", "gst:nosuchelement ! videoconvert"], 3, "nosuchelement"),
    ],
)
def test_what_cannot_run_says_so(arguments: list[str], code: int, message: str, clip: Clip) -> None:
    clip("WolfgangLanger_Pexels.mp4")
    run = edge_run(*arguments)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_misspelt_key_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "kiosk.toml"
    path.write_text('source = "sample"\nmax-facs = 2\n')
    run = edge_run("--config", path)
    assert run.returncode == 2
    assert "max-facs" in run.stderr
    path.write_text('source = ["a.mp4", "b.mp4"]\n')
    run = edge_run("--config", path)
    assert (run.returncode, "not yet: several sources" in run.stderr) == (2, True)


def test_the_printed_configuration_is_read_back(tmp_path: Path) -> None:
    first = edge_run("--source", "sample", "--max-faces", "2", "--roi", "0,0,320,200", "--output", "a.jsonl", "--print-config")
    path = tmp_path / "kiosk.toml"
    path.write_text(first.stdout)
    again = edge_run("--config", path, "--max-faces", "3", "--print-config")
    assert again.stdout == first.stdout.replace("max-faces = 2", "max-faces = 3")
    assert "max-faces = 3" in again.stdout


def test_a_damaged_package_is_refused(models: Path, tmp_path: Path) -> None:
    for name in ("default", "blazeface"):
        shutil.copytree(models / name, tmp_path / name)
    with next((tmp_path / "default").glob("*.onnx")).open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0")
    summary = tmp_path / "s.json"
    run = edge_run("--source", "sample", "--model", tmp_path / "default", "--summary", summary)
    assert run.returncode == 4
    assert "expected SHA-256" in run.stderr
    report = json.loads(summary.read_text())
    assert report["exit"] == "failed"
    assert "expected SHA-256" in report["error"]


@pytest.mark.parametrize("content", [b"", os.urandom(5000), b"this is no video\n" * 50], ids=["empty", "random", "text"])
def test_files_that_are_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    run = edge_run("--source", path)
    assert run.returncode == 5, run.stderr
    assert str(path) in run.stderr


def test_a_truncated_clip(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    content = clip("single_face.mp4").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    run = edge_run("--source", path, "--output", tmp_path / "out.jsonl", "--summary", tmp_path / "s.json")
    assert run.returncode in (0, 5), run.stderr  # 0 where the index lies in front and the frames before the cut could be read
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["frames"] < 72
    assert report["exit"] == ("failed" if run.returncode else "done")


def test_a_full_disk(clip: Clip, tmp_path: Path) -> None:
    link = tmp_path / "out.jsonl"
    link.symlink_to("/dev/full")
    run = edge_run("--source", clip("single_face.mp4"), "--output", link, "--summary", tmp_path / "s.json")
    assert run.returncode == 7, run.stderr
    assert "No space left" in run.stderr
    assert json.loads((tmp_path / "s.json").read_text())["exit"] == "failed"


def test_a_reader_that_goes_away(clip: Clip) -> None:
    process = subprocess.Popen(edge_run_line("--source", clip("single_face.mp4"), "--output", "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["schema"] == "edge.header/1"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 7, errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_within_a_second_and_loses_nothing(number: signal.Signals, tmp_path: Path) -> None:
    line = edge_run_line("--source", "gst:videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1")
    process = subprocess.Popen([*line, "--output", tmp_path / "out.jsonl", "--summary", tmp_path / "s.json"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not (tmp_path / "out.jsonl").exists() or (tmp_path / "out.jsonl").read_bytes().count(b"\n") < 10:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    started = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == 0
    elapsed_s = time.monotonic() - started
    process.stderr.close()
    assert elapsed_s < 1
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["exit"] == "interrupted"
    assert len(records_of(tmp_path / "out.jsonl")) == report["frames"] + 1


def test_results_never_share_a_file(clip: Clip, tmp_path: Path) -> None:
    for pair in (["--output", "a.jsonl", "--summary", "./a.jsonl"], ["--output", "-", "--output", "-"], ["--annotate", "x.png", "--summary", "x.png"]):
        run = edge_run("--source", clip("multi_face.jpg"), *pair, cwd=tmp_path)
        assert run.returncode == 2
        assert "names already" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_sample_is_never_overwritten(clip: Clip) -> None:
    path = clip("WolfgangLanger_Pexels.mp4")
    size = path.stat().st_size
    run = edge_run("--source", "sample", "--annotate", path)
    assert run.returncode == 2
    assert path.stat().st_size == size


def test_what_stood_before_in_an_appended_file_stays(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    before = b"old line\n" * 3000
    path.write_bytes(before)
    command = " ".join(map(shlex.quote, edge_run_line("--source", clip("single_face.mp4"), "--output", "-", "--quiet")))
    run = subprocess.run(["bash", "-c", f"ulimit -f 40; {command} >> {shlex.quote(str(path))}"], capture_output=True, text=True)
    assert run.returncode == 7, run.stderr
    after = path.read_bytes()
    assert after.startswith(before)
    assert after.endswith(b"\n")
    assert json.loads(after.splitlines()[-1])["schema"].startswith("edge.")


def test_closed_standard_streams(clip: Clip, tmp_path: Path) -> None:
    command = " ".join(map(shlex.quote, edge_run_line("--source", clip("multi_face.jpg"), "--output", "-")))
    run = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True)
    assert run.returncode in (2, 7), run.stderr
    assert "Traceback" not in run.stderr
    run = subprocess.run(["bash", "-c", f"{command} 2>&-"], capture_output=True, text=True)
    assert run.returncode == 0
    assert [json.loads(line)["schema"] for line in run.stdout.splitlines()] == ["edge.header/1", "edge.result/1"]
    run = subprocess.run(["bash", "-c", f"{command} 2>&1 >{tmp_path / 'o.jsonl'} | head -n 1"], capture_output=True, text=True)
    assert len(records_of(tmp_path / "o.jsonl")) == 2


def test_no_password_in_a_record(clip: Clip, tmp_path: Path) -> None:
    source = "gst:videotestsrc num-buffers=3 name=rtsp://me:secret@cam ! video/x-raw,width=64,height=64"
    run = edge_run("--source", source.replace("name=rtsp://me:secret@cam", 'name="a-pw=secret"'), "--output", tmp_path / "o.jsonl")
    assert run.returncode == 0, run.stderr
    assert "secret" not in (tmp_path / "o.jsonl").read_text() + run.stderr


def test_a_name_that_is_too_long() -> None:
    run = edge_run("--source", "x" * 300)
    assert run.returncode == 5, run.stderr
    run = edge_run("--source", "sample", "--summary", "x" * 300)
    assert run.returncode == 2, run.stderr


def test_few_places_go_to_real_faces(clip: Clip, tmp_path: Path) -> None:
    for n in (1, 3):
        run = edge_run("--source", clip("multi_face.jpg"), "--max-faces", n, "--output", tmp_path / "o.jsonl")
        assert run.returncode == 0
        assert len(records_of(tmp_path / "o.jsonl")[1]["faces"]) == n


def test_a_signal_while_connecting_is_no_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        line = edge_run_line("--source", f"rtsp://127.0.0.1:{port}/x", "--summary", tmp_path / "s.json")
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=5)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "s.json").read_text())["exit"] == "interrupted"


def test_the_input_is_never_overwritten(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    shutil.copy(clip("single_face.mp4"), path)
    before = path.read_bytes()
    run = edge_run("--source", path, "--annotate", path)
    assert run.returncode == 2
    assert "the file that is being read" in run.stderr
    assert path.read_bytes() == before
