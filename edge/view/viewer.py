"""Drawing and encoding beside the inference, so that neither waits for the other more than it must."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edge.errors import OutputError
from edge.frame import Frame, Pixels
from edge.output.rate import RecentRate
from edge.package import Package
from edge.result import EMOTIONS, FrameResult
from edge.stage import ActionUnits, Named, of_frame, role_of
from edge.view.draw import Hud, draw
from edge.view.video import Sink, Window, WindowClosed, open_annotation

_N_PENDING = 4  # frames of a file that may wait to be drawn
_END_S = 60.0


class Viewer:
    """A thread that draws results and hands them to sinks.

    Frames of a file are all drawn: `show` waits when the thread is behind. Of paced frames the newest wins, and the others are counted in `n_skipped`.

    Args:
        sinks: Windows and files; the viewer owns them from now on.
        hud: What the panel says beside the results; its rate is filled in here.
    """

    def __init__(self, sinks: Sequence[Sink], *, hud: Hud) -> None:
        self._sinks = list(sinks)
        self._hud = hud
        self._rate = RecentRate()
        self._pending: deque[tuple[Frame, FrameResult, Hud]] = deque()
        self._changed = threading.Condition()
        self._ending = self._failed = False
        self._wanted = True
        self._error: BaseException | None = None
        self.n_skipped = 0
        self._thread = threading.Thread(target=self._work, name="viewer", daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        """What the pictures go to."""
        return ", ".join(sink.description for sink in self._sinks)

    def show(self, frame: Frame, result: FrameResult) -> bool:
        """Have a frame drawn.

        Args:
            frame: The picture.
            result: What was found in it.

        Returns:
            False once the user has closed the window, which means that the run should end.

        Raises:
            OutputError: Drawing or encoding an earlier frame failed, or the viewer was closed.
        """
        with self._changed:
            self._raise_error()
            if self._ending or self._failed:
                raise OutputError("the viewer is closed, or has failed before")
            self._rate.add(result.t_publish_ns)
            hud = replace(self._hud, fps=self._rate.fps)
            if frame.paced:
                self.n_skipped += len(self._pending)
                self._pending.clear()
            else:
                self._changed.wait_for(lambda: len(self._pending) < _N_PENDING)  # a failure empties the queue
                self._raise_error()
            self._pending.append((frame, result, hud))
            self._changed.notify_all()
            return self._wanted

    def close(self) -> None:
        """Draw what is pending, finish the files and free everything. Closing twice is allowed.

        Raises:
            OutputError: Something could not be finished, or did not end in time.
        """
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(_END_S)
        if self._thread.is_alive():
            raise OutputError(f"drawing did not end within {_END_S:.0f} s", hint="GST_DEBUG=3 edge-run ... says more")
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        try:
            while (item := self._next()) is not None:
                frame, result, hud = item
                pixels = draw(frame.pixels, result, hud)
                for sink in tuple(self._sinks):
                    self._feed(sink, pixels, frame.t_media_ns)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that calls show() or close()
            self._fail(error)
        for sink in tuple(self._sinks):  # also after a failure: a file that can be completed is worth having
            try:
                self._feed(sink, None, 0)
            except BaseException as error:  # noqa: BLE001 - as above
                self._fail(error)
            sink.close()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if not self._failed:
                self._error = error
            self._failed = True
            self._pending.clear()
            self._changed.notify_all()

    def _next(self) -> tuple[Frame, FrameResult, Hud] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._ending)
            if not self._pending:
                return None
            item = self._pending.popleft()
            self._changed.notify_all()
            return item

    def _feed(self, sink: Sink, pixels: Pixels | None, t_media_ns: int) -> None:
        """Hand over a picture, or finish where there is none; a window that the user has closed is let go."""
        try:
            if pixels is None:
                sink.finish()
            else:
                sink.push(pixels, t_media_ns)
        except WindowClosed:
            sink.close()
            self._sinks.remove(sink)
            with self._changed:
                self._wanted = False


def open_viewer(*, display: Literal["none", "window"], annotate: str | None, package: Package, input_path: Path | None = None) -> Viewer | None:
    """Open what the settings ask for; None where they ask for nothing.

    Args:
        display: `none` or `window`.
        annotate: `*.mp4`, `*.png` or `*.jpg`, or None.
        package: Says what its networks name, and which labels it cannot vouch for.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: There is no display, or the file cannot be made.
        MissingDependency: An encoder or an element for the display is not installed.
    """
    sinks: list[Sink] = []
    if annotate is not None:
        sinks.append(open_annotation(annotate, input_path=input_path))
    if display == "window":
        try:
            sinks.append(Window())
        except BaseException:
            for sink in sinks:
                sink.close()
            raise
    if not sinks:
        return None
    return Viewer(sinks, hud=hud_of(package))


def hud_of(package: Package) -> Hud:
    """Return what the panel says for a package, of a face, or of the picture where it looks at no faces: action units, and emotions or else its own labels."""
    stages, whole = package.manifest.stages, of_frame(package.manifest.stages)
    of_faces = [stage for stage in stages if stage.name not in whole]
    outputs = {role_of(output): output for stage in of_faces or stages for output in stage.shown if isinstance(output, Named)}
    units = outputs.get("action_units")
    return Hud(
        au_quantity=units.quantity if isinstance(units, ActionUnits) else None,
        low_confidence=frozenset(package.manifest.low_confidence),
        warning="" if package.manifest.trained else "untrained: means nothing",
        labels=EMOTIONS if "emotions" in outputs else outputs["scores"].labels if "scores" in outputs else (),
    )
