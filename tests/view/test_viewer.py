"""The viewer's thread: every frame of a file, the newest of a camera, errors that surface, an end that comes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from edge.errors import OutputError, SpecMismatch
from edge.frame import Frame, Pixels
from edge.package import load_package
from edge.result import EMOTIONS
from edge.stage import Scores
from edge.view.draw import Hud
from edge.view.video import WindowClosed
from edge.view.viewer import Viewer, hud_of, open_viewer
from tests.output.example_results import a_face, a_result
from tests.toy_kinds import make_frame_stage, manifest_of, save


class Gate:
    """A sink whose owner says when it takes a picture, and what happens then."""

    description = "gate"

    def __init__(self, *, fails_at: int | None = None, error: Exception | None = None) -> None:
        self.opened = threading.Event()
        self.times_ns: list[int] = []
        self.n_finished = self.n_closed = 0
        self._fails_at = fails_at
        self._error = error

    def push(self, pixels: Pixels, t_media_ns: int) -> None:
        assert pixels.shape[1] % 8 == 0
        assert self.opened.wait(10)
        if len(self.times_ns) == self._fails_at and self._error is not None:
            raise self._error
        self.times_ns.append(t_media_ns)

    def finish(self) -> None:
        self.n_finished += 1

    def close(self) -> None:
        self.n_closed += 1


def frame(seq: int, *, paced: bool, pixels: Pixels | None = None) -> Frame:
    pixels = np.zeros((240, 320, 3), np.uint8) if pixels is None else pixels
    return Frame(seq, "clip", pixels, t_media_ns=seq, t_capture_ns=0, t_capture_from="arrival", paced=paced)


def show_all(viewer: Viewer, n: int) -> None:
    for seq in range(n):
        viewer.show(frame(seq, paced=False), a_result(a_face(), seq=seq))


def test_every_frame_of_a_file_is_drawn_and_show_waits() -> None:
    gate = Gate()
    viewer = Viewer([gate], hud=Hud())
    feeding = threading.Thread(target=show_all, args=(viewer, 20))
    feeding.start()
    feeding.join(0.5)
    assert feeding.is_alive()  # it waits: the sink takes nothing yet, and memory is bounded
    gate.opened.set()
    feeding.join(10)
    viewer.close()
    viewer.close()
    assert gate.times_ns == list(range(20))
    assert (gate.n_finished, gate.n_closed, viewer.n_skipped) == (1, 1, 0)


def test_of_a_camera_the_newest_frame_wins_and_show_does_not_wait() -> None:
    gate = Gate()
    viewer = Viewer([gate], hud=Hud())
    for seq in range(50):
        viewer.show(frame(seq, paced=True), a_result(seq=seq))
    gate.opened.set()
    viewer.close()
    assert gate.times_ns[-1] == 49
    assert len(gate.times_ns) + viewer.n_skipped == 50
    assert len(gate.times_ns) <= 2


def test_an_error_surfaces_at_the_next_show_and_only_once() -> None:
    failing, other = Gate(fails_at=1, error=OutputError("the disk is full")), Gate()
    failing.opened.set()
    other.opened.set()
    viewer = Viewer([failing, other], hud=Hud())
    with pytest.raises(OutputError, match="the disk is full"):
        show_all(viewer, 100)
    with pytest.raises(OutputError, match="the viewer is closed, or has failed before"):
        viewer.show(frame(100, paced=False), a_result(seq=100))
    viewer.close()
    assert (failing.n_closed, other.n_closed) == (1, 1)
    assert other.n_finished == 1  # the file that could be completed was


def test_an_error_after_the_last_frame_surfaces_at_close() -> None:
    gate = Gate(fails_at=0, error=OutputError("the disk is full"))
    viewer = Viewer([gate], hud=Hud())
    viewer.show(frame(0, paced=False), a_result())
    gate.opened.set()
    with pytest.raises(OutputError, match="the disk is full"):
        viewer.close()
    viewer.close()


def test_a_waiting_show_is_woken_by_an_error() -> None:
    gate = Gate(fails_at=0, error=OutputError("the disk is full"))
    viewer = Viewer([gate], hud=Hud())
    threading.Timer(0.3, gate.opened.set).start()
    with pytest.raises(OutputError, match="the disk is full"):
        show_all(viewer, 20)
    viewer.close()


def test_drawing_errors_surface_too() -> None:
    gate = Gate()
    gate.opened.set()
    viewer = Viewer([gate], hud=Hud())
    viewer.show(frame(0, paced=False, pixels=np.zeros((4, 4), np.uint8)), a_result())
    with pytest.raises(SpecMismatch, match="drawing expected"):
        viewer.close()


def test_a_closed_window_ends_the_run_and_the_file_goes_on() -> None:
    window, file = Gate(fails_at=1, error=WindowClosed("closed")), Gate()
    window.opened.set()
    file.opened.set()
    viewer = Viewer([window, file], hud=Hud())
    seq = 0
    while viewer.show(frame(seq, paced=False), a_result(seq=seq)):
        seq += 1
        assert seq < 100
    viewer.close()
    assert file.times_ns == list(range(seq + 1))
    assert (window.times_ns, window.n_closed, file.n_finished, file.n_closed) == ([0], 1, 1, 1)


def test_showing_after_closing_is_refused() -> None:
    viewer = Viewer([], hud=Hud())
    viewer.close()
    with pytest.raises(OutputError, match="the viewer is closed"):
        viewer.show(frame(0, paced=False), a_result())


def test_nothing_is_opened_when_nothing_is_asked_for(models: object) -> None:
    assert open_viewer(display="none", annotate=None, package=load_package("default")) is None


def test_the_panel_s_bars_are_what_the_package_names(models: object, tmp_path: Path) -> None:
    for name in ("default", "mesh-chain"):
        assert (hud_of(load_package(name)).labels, hud_of(load_package(name)).au_quantity) == (EMOTIONS, "intensity")
    assert "AU6" in hud_of(load_package("mesh-chain")).low_confidence
    whole = load_package(save(tmp_path / "whole", manifest_of(make_frame_stage(tmp_path / "whole"), detector="")))
    (output,) = whole.manifest.stages[0].outputs
    assert isinstance(output, Scores)
    assert (hud_of(whole).labels, hud_of(whole).au_quantity, hud_of(whole).warning) == (output.labels, None, "")
    untrained = save(tmp_path / "untrained", manifest_of(make_frame_stage(tmp_path / "untrained"), detector="", trained=False))
    assert hud_of(load_package(untrained, allow_untrained=True)).warning == "untrained: means nothing"
