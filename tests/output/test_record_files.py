"""Record files and pipes: what is in them, and what happens when they cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import ConfigError, OutputError
from edge.output.line_file import LineFile
from edge.output.output import open_output
from tests.output.example_results import a_face, a_header, a_result

ROOT = Path(__file__).resolve().parents[2]


def test_header_first_then_a_record_for_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    output = open_output(str(path), header=a_header())
    results = [a_result(a_face(), seq=0), a_result(seq=1)]
    for result in results:
        output.write(result)
    output.close()
    output.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [a_header().record(), *(result.record() for result in results)]
    assert "raw" not in lines[1]["faces"][0]


def test_raw_values_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    output = open_output(str(path), header=a_header(), raw=True)
    output.write(a_result(a_face()))
    face = json.loads(path.read_text().splitlines()[1])["faces"][0]
    assert (face["emotion"], face["raw"]["emotion"]) == ("happy", "sad")
    output.close()


def test_each_line_is_on_the_disk_when_write_returns(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    output = open_output(str(path), header=a_header())
    for n in range(1, 4):
        output.write(a_result(seq=n))
        assert len(path.read_bytes().splitlines()) == n + 1
        assert path.read_bytes().endswith(b"\n")
    output.close()


def test_an_existing_file_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old " * 10_000)
    open_output(str(path), header=a_header()).close()
    assert "old" not in path.read_text()


def test_writing_after_closing_is_refused(tmp_path: Path) -> None:
    output = open_output(str(tmp_path / "out.jsonl"), header=a_header())
    output.write(a_result())
    output.close()
    with pytest.raises(OutputError, match="is closed; 2 lines had been written"):
        output.write(a_result())


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_full_disk_says_how_much_was_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="failed after 0 lines: No space left on device") as caught:
        open_output(str(path), header=a_header())
    assert caught.value.exit_code == 7


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    # A limit on the size of files fails in the middle of a line, as a full disk does.
    path = tmp_path / "out.jsonl"
    program = f"""
import resource, signal
from edge.errors import OutputError
from edge.output.line_file import LineFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
lines = LineFile({str(path)!r})
try:
    for n in range(100):
        lines.write_line(b"x" * 299)
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "failed after 3 lines: File too large" in done.stdout
    assert path.read_bytes() == (b"x" * 299 + b"\n") * 3


def test_a_reader_that_goes_away_is_an_error_without_noise() -> None:
    program = """
from edge.errors import OutputError
from edge.output.output import open_output
from tests.output.example_results import a_header, a_result
output = open_output("-", header=a_header())
import sys
try:
    for seq in range(100_000):
        output.write(a_result(seq=seq))
except OutputError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    assert json.loads(child.stdout.readline())["schema"] == "edge.header/1"
    child.stdout.close()
    noise = child.stderr.read()
    child.stderr.close()
    assert child.wait(30) == 7
    assert "writing to the standard output failed after" in noise
    assert "its reader has gone" in noise
    assert "Exception ignored" not in noise
    assert "Traceback" not in noise


def test_standard_output_stays_open_for_others() -> None:
    program = """
from edge.output.line_file import LineFile
lines = LineFile("-")
lines.write_line(b"ours")
lines.close()
print("theirs")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "ours\ntheirs\n"


@pytest.mark.parametrize(
    ("dest", "message"),
    [
        ("mqtt://host/topic", "MQTT is not yet available"),
        ("out.txt", "expects -, a name ending in .jsonl or one ending in .csv; got 'out.txt'"),
        ("udp://1.2.3.4", "got 'udp://1.2.3.4'"),
        ("absent-folder/out.jsonl", "the folder absent-folder does not exist"),
        ("folder.jsonl", "expects a file, got the folder folder.jsonl"),
        ("/sys/out.jsonl", "cannot be written|no file may be made"),
    ],
)
def test_destinations_that_cannot_be_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dest: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match=message) as caught:
        open_output(dest, header=a_header())
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_places_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.touch(0o400)
    with pytest.raises(ConfigError, match="may not be written"):
        LineFile(str(file))
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="no file may be made in"):
        LineFile(str(tmp_path / "new.jsonl"))


def test_read_only_places_are_refused_to_others_too(tmp_path: Path) -> None:
    """As the test before, for machines where tests run as root: the check itself runs as nobody."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    program = """
import os, sys
from edge.errors import ConfigError
from edge.output.line_file import LineFile
os.chdir("/")
folder = sys.argv[1]
os.chmod(folder, 0o755)
open(folder + "/old.jsonl", "w").close()
for parent in (folder, *[folder.rsplit("/", n)[0] for n in range(1, folder.count("/"))]):
    os.chmod(parent, os.stat(parent).st_mode | 0o055)
os.setgid(65534)
os.setuid(65534)
for name in ("old.jsonl", "new.jsonl"):
    try:
        LineFile(folder + "/" + name)
    except ConfigError as error:
        print(error)
"""
    folder = tmp_path / "closed"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "old.jsonl may not be written" in done.stdout
    assert "no file may be made in" in done.stdout


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("precious")
    link = tmp_path / "link.jsonl"
    link.symlink_to(file)
    for dest in (file, link):
        with pytest.raises(ConfigError, match="names the file that is being read"):
            open_output(str(dest), header=a_header(), input_path=file)
    assert file.read_text() == "precious"
    open_output(str(tmp_path / "other.jsonl"), header=a_header(), input_path=file).close()
