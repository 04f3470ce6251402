"""A folder is replaced whole, in one step."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from calibration.whole_folder import in_one_step, try_out
from edge.errors import ConfigError


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exchanges: bool) -> None:
    seen: list[str] = []

    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "content").write_text(f"{len(seen)}")
        seen.append((tmp_path / "place/content").read_text() if (tmp_path / "place").exists() else "")

    if not exchanges:
        monkeypatch.setattr("calibration.whole_folder._exchanged", lambda *_: False)
    for _ in range(3):
        in_one_step(tmp_path / "place", fill)
    assert seen == ["", "0", "1"]
    assert (tmp_path / "place/content").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_folder_that_is_replaced_is_always_there(tmp_path: Path) -> None:
    place, stop, missing = tmp_path / "place", threading.Event(), 0

    def look() -> None:
        nonlocal missing
        while not stop.is_set():
            missing += not place.exists()

    in_one_step(place, Path.mkdir)
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(300):
            in_one_step(place, Path.mkdir)
    finally:
        stop.set()
        watcher.join()
    assert missing == 0


def test_trying_a_place_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tmp_path / "full"
    (full / "below").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for place in (full, tmp_path / "empty", tmp_path / "new", tmp_path / "far/away"):
        try_out(place)
    assert sorted(tmp_path.rglob("*")) == before
    for inside in (full, full / "below"):
        monkeypatch.chdir(inside)
        with pytest.raises(ConfigError, match="is the folder that you are in"):
            try_out(full)
    # Nobody can write there, not even root.
    with pytest.raises(OSError, match="/proc/self"):
        try_out(Path("/proc/self/fd"))
    assert sorted(tmp_path.rglob("*")) == before
