"""`python -m calibration`: exit codes, damaged sets, and what is printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calibration import load_set
from calibration.__main__ import main
from calibration.default_sources import KNOWN_CLIPS, default_sources
from calibration.errors import CalibrationError, SetCorrupt, SetNotFound
from calibration.set_file import MANIFEST, CalibrationSet
from converters.known_files import CLIPS

# The first test that wants the small set builds it; on a machine with other work that takes its time.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def copy(small_set: CalibrationSet, tmp_path: Path) -> Path:
    return shutil.copytree(small_set.path, tmp_path / "set")


def test_check_says_what_a_set_is(small_set: CalibrationSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(small_set.path)]) == 0
    printed = capsys.readouterr().out
    assert small_set.sha256 in printed
    for words in ("calibration: 110 pictures", "Apache-2.0", "disjoint from person-0000", "yaw_deg", "AU12", "4 excluded"):
        assert words in printed


def test_check_refuses_what_evaluation_data_share(small_set: CalibrationSet, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(small_set.path), "--exclude", str(people / "person-0000")]) == 0
    assert main(["check", str(small_set.path), "--exclude", str(people)]) == 4
    assert "of its files are, look like or were cut from excluded pictures: pictures/" in capsys.readouterr().err


def test_damaged_sets_are_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = next((copy / "pictures").iterdir())
    content = picture.read_bytes()
    picture.write_bytes(content[:-1])
    assert main(["check", str(copy)]) == 4
    assert "expected SHA-256" in capsys.readouterr().err
    picture.unlink()
    with pytest.raises(SetCorrupt, match="is named by the set's manifest but cannot be read"):
        load_set(copy)
    picture.write_bytes(content)
    load_set(copy)


def test_manifests_that_contradict_themselves_are_refused(copy: Path) -> None:
    manifest = copy / MANIFEST
    text = manifest.read_text()
    found = load_set(copy).manifest
    calibration, held_out = (next(item for item in found.items if item.split == split) for split in ("calibration", "held-out"))
    for old, new, message in (
        (f'origin = "{held_out.origin}"', f'origin = "{calibration.origin}"', "is both in calibration and in held-out"),
        (held_out.pixels_sha256, calibration.pixels_sha256, f"the content of {held_out.file} is both in calibration and in held-out"),
        (held_out.source_sha256, calibration.source_sha256, f"the content of {held_out.file} is both in calibration and in held-out"),
        (held_out.source_sha256, calibration.pixels_sha256, f"the content of {held_out.file} is both in calibration and in held-out"),
        (held_out.sha256, calibration.sha256, f"the content of {held_out.file} is both in calibration and in held-out"),
        (f'file = "{held_out.file}"', f'file = "{calibration.file}"', "names a file twice"),
        (f'file = "{held_out.file}"', 'file = "../elsewhere.png"', "which lies outside the set"),
        ('schema = "edge.calibration/1"', 'schema = "edge.calibration/9"', "is not a manifest of schema edge.calibration/1"),
    ):
        assert old in text
        manifest.write_text(text.replace(old, new, 1))
        with pytest.raises(SetCorrupt, match=message):
            load_set(copy)


def test_check_sees_what_hashes_of_files_do_not(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (copy / MANIFEST).read_text()
    item = load_set(copy).manifest.items[0]
    for old, new, message in (
        (item.pixels_sha256, "0" * 64, "are not the ones that its manifest names"),
        (f"yaw_deg = {item.features.yaw_deg}\n", "yaw_deg = 88.0\n", "the coverage is not that of its pictures"),
    ):
        assert old in text
        (copy / MANIFEST).write_text(text.replace(old, new, 1))
        assert main(["check", str(copy)]) == 4
        assert message in capsys.readouterr().err


def test_absent_sets_and_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SetNotFound, match="no calibration set at"):
        load_set(tmp_path / "absent")
    assert main(["check", str(tmp_path / "absent")]) == 4
    assert "python -m calibration build default" in capsys.readouterr().err
    assert main(["build", str(tmp_path)]) == 2
    assert "where shall the set go?" in capsys.readouterr().err
    assert main(["build", str(tmp_path / "absent"), "-o", str(tmp_path / "set")]) == 5
    for wrong in (["build", "default", "--max", "0"], ["build"], ["check"], ["render"]):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2


def test_a_set_named_default_is_the_installed_one(small_set: CalibrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    shutil.copytree(small_set.path, tmp_path / "calibration" / "default")
    assert load_set("default").path == tmp_path / "calibration" / "default"


def test_the_clips_of_the_default_set_are_the_ones_that_are_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = {file.name: file.sha256 for file in CLIPS}
    assert {clip.name: clip.sha256 for clip in KNOWN_CLIPS}.items() <= pulled.items()
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    with pytest.raises(CalibrationError, match=r"the test clip WolfgangLanger_Pexels.mp4 is not in .*clips") as missing:
        default_sources()
    assert missing.value.hint == "python -m converters pull clips"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "WolfgangLanger_Pexels.mp4").write_bytes(b"another")
    with pytest.raises(CalibrationError, match="expected SHA-256 c048a3025"):
        default_sources()
