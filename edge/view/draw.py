"""A frame with what was found in it: boxes on the picture, and beside it a panel with the numbers of the primary face, or of the picture where no faces are
looked for; where both are, the picture's own word stands in its corner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from edge.errors import SpecMismatch
from edge.frame import Pixels
from edge.result import ACTION_UNITS, EMOTIONS, Estimate, FaceResult, FrameResult, top_label
from edge.view.lettering import Color, fit_text, paste, text_tile, text_width_px

_GROUND: Color = (17, 19, 23)
_TRACK: Color = (38, 42, 49)
_TEXT: Color = (226, 229, 233)
_QUIET: Color = (132, 139, 149)
_FAINT: Color = (86, 92, 101)
_STRONGEST: Color = (246, 183, 82)
_OTHER: Color = (112, 124, 142)
_UNIT: Color = (86, 190, 180)
_UNSURE: Color = (52, 92, 90)

_ROWS = 21.8  # rows of text that a panel's height is divided into
_PANEL_ROWS = 15.5  # its width, in heights of a row
_MIN_PANEL_PX = 196
_MAX_ROW_PX = 40.0
_MIN_HEIGHT_PX = 240  # less than that, and the panel's letters could not be read
_N_LABELS = 7
_WIDTH_STEP_PX = 8  # encoders and converters are at their best with widths of whole macroblock halves


@dataclass(frozen=True, slots=True)
class Hud:
    """What the panel says beside the result.

    Attributes:
        fps: Frames per second; None where not yet known.
        au_quantity: What the action units are; None where the package has none.
        low_confidence: Labels that are drawn dim.
        labels: What the upper bars stand for; no more than seven are drawn.
        warning: What nobody may overlook who sees the numbers, such as that they mean nothing; empty where there is no such thing.
    """

    fps: float | None = None
    au_quantity: Literal["presence", "intensity"] | None = None
    low_confidence: frozenset[str] = frozenset()
    labels: tuple[str, ...] = EMOTIONS
    warning: str = ""


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Where things are on the canvas, in pixels. Tests and screenshots find the bars by it.

    Attributes:
        left_px: Left edge of the panel, which is the width of the picture.
        size_wh_px: Width and height of the canvas.
        row_px: Height of a row.
        labels: What the upper bars stand for.
    """

    left_px: int
    size_wh_px: tuple[int, int]
    row_px: float
    labels: tuple[str, ...]

    @property
    def cap_px(self) -> int:
        """Height of a capital letter."""
        return max(7, round(self.row_px * 0.5))

    @property
    def margin_px(self) -> int:
        """Space at the panel's edges."""
        return round(self.row_px * 0.8)

    @property
    def value_px(self) -> int:
        """Room of a value, with the gap before it."""
        return text_width_px("0.00", self.cap_px) + self._gap_px

    def label_bar(self, index: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the track of the label with this index."""
        top = self._row_top(3.2 + index)
        widest_px = max((text_width_px(label, self.cap_px) for label in self.labels), default=0)
        room_px = (self.size_wh_px[0] - self.left_px) // 2  # a longer label is cut
        left = self.left_px + self.margin_px + min(widest_px + self._gap_px, room_px)
        return left, top, self.size_wh_px[0] - self.margin_px - self.value_px, top + self._bar_px

    def unit_bar(self, index: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the track of the action unit with this index; they stand in two columns."""
        column, row = divmod(index, (len(ACTION_UNITS) + 1) // 2)
        top = self._row_top(11.8 + row)
        between = 2 * self._gap_px
        width = (self.size_wh_px[0] - self.left_px - 2 * self.margin_px - between) // 2
        start = self.left_px + self.margin_px + column * (width + between)
        return start + text_width_px("AU26", self.cap_px) + self._gap_px, top, start + width - self.value_px, top + self._bar_px

    @property
    def _gap_px(self) -> int:
        return max(4, round(self.row_px * 0.4))

    @property
    def _bar_px(self) -> int:
        return max(4, round(self.row_px * 0.42))

    def _row_top(self, row: float) -> int:
        return round(self.row_px * (row + 0.3))


def panel_layout(width_px: int, height_px: int, labels: tuple[str, ...] = EMOTIONS) -> PanelLayout:
    """Return the layout for pictures of this size.

    Args:
        width_px: Of the picture.
        height_px: Of the picture; a lower one than 240 px stands on a canvas of that height.
        labels: What the upper bars stand for.
    """
    height = max(height_px, _MIN_HEIGHT_PX)
    height += height % 2
    row_px = min(height / _ROWS, _MAX_ROW_PX)
    width = width_px + max(round(_PANEL_ROWS * row_px), _MIN_PANEL_PX)
    return PanelLayout(left_px=width_px, size_wh_px=(width + -width % _WIDTH_STEP_PX, height), row_px=row_px, labels=labels)


def draw(pixels: Pixels, result: FrameResult, hud: Hud) -> Pixels:
    """Draw a result.

    Args:
        pixels: uint8[H, W, 3], RGB; not modified.
        result: What was found in it.
        hud: What else the panel says.

    Returns:
        uint8[H', W', 3], RGB: the picture with boxes and, on its right, the panel. Both sides are even, and the size depends on that of `pixels` alone.

    Raises:
        SpecMismatch: `pixels` is not uint8[H, W, 3].
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise SpecMismatch(f"drawing expected uint8[H, W, 3], got {pixels.dtype}{list(pixels.shape)}")
    height, width = pixels.shape[:2]
    primary = next((face for face in result.faces if face.primary), None)
    whole_only = result.frame if result.status == "ok" and not result.faces else None
    estimate = primary.estimate if primary is not None else whole_only
    layout = panel_layout(width, height, hud.labels[:_N_LABELS])
    canvas = _template(layout, hud.au_quantity, hud.low_confidence).copy()
    top = (layout.size_wh_px[1] - height) // 2
    picture = canvas[top : top + height, :width]
    picture[:] = pixels
    for face in sorted(result.faces, key=lambda face: face.primary):  # the primary one on top
        _draw_face(picture, face, layout)
    if result.frame is not None and result.frame.ranked and whole_only is None:
        _draw_strip(picture, f"picture  {_share(result.frame.ranked)}", _TEXT, layout, (0, 0, 0))
    _draw_heading(canvas, layout, result, primary, estimate)
    values = estimate.ranked if estimate is not None else {}
    _draw_below_heading(canvas, layout, hud.warning if values else ", ".join(primary.reasons) if primary is not None else "")
    strongest = top_label(values) if values else None
    for index, label in enumerate(layout.labels):
        _draw_value(canvas, layout.label_bar(index), layout, values.get(label), _STRONGEST if label == strongest else _OTHER, _TEXT)
    units = estimate.action_units if estimate is not None and estimate.action_units is not None else {}
    for index, name in enumerate(ACTION_UNITS if hud.au_quantity is not None else ()):
        unsure = name in hud.low_confidence
        _draw_value(canvas, layout.unit_bar(index), layout, units.get(name), _UNSURE if unsure else _UNIT, _FAINT if unsure else _TEXT)
    _draw_footer(canvas, layout, result, hud)
    return canvas


def _share(values: Mapping[str, float]) -> str:
    strongest = top_label(values)
    return f"{strongest} {values[strongest]:.0%}"


@lru_cache(maxsize=16)
def _template(layout: PanelLayout, au_quantity: str | None, low_confidence: frozenset[str]) -> Pixels:
    width, height = layout.size_wh_px
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = _GROUND
    cap, margin = layout.cap_px, layout.margin_px
    for index, label in enumerate(layout.labels):
        bar = layout.label_bar(index)
        _fill(canvas, bar, _TRACK)
        text = fit_text(label, cap, bar[0] - layout.left_px - margin)
        paste(canvas, text_tile(text, cap, _FAINT if label in low_confidence else _QUIET, _GROUND), layout.left_px + margin, _text_top(bar, cap))
    if au_quantity is not None:
        _draw_unit_names(canvas, layout, au_quantity, low_confidence)
    canvas.flags.writeable = False
    return canvas


def _draw_unit_names(canvas: Pixels, layout: PanelLayout, au_quantity: str, low_confidence: frozenset[str]) -> None:
    cap, margin = layout.cap_px, layout.margin_px
    first = layout.unit_bar(0)
    heading_top = first[1] - round(layout.row_px * 1.15)
    small = max(7, cap - 1)
    paste(canvas, text_tile(f"action units, {au_quantity}", small, _FAINT, _GROUND), layout.left_px + margin, heading_top)
    column_px = layout.unit_bar(len(ACTION_UNITS) - 1)[0] - first[0]
    for index, name in enumerate(ACTION_UNITS):
        bar = layout.unit_bar(index)
        _fill(canvas, bar, _TRACK)
        left = layout.left_px + margin + (column_px if bar[0] != first[0] else 0)
        paste(canvas, text_tile(name, cap, _FAINT if name in low_confidence else _QUIET, _GROUND), left, _text_top(bar, cap))


def _draw_heading(canvas: Pixels, layout: PanelLayout, result: FrameResult, primary: FaceResult | None, estimate: Estimate | None) -> None:
    left, cap = layout.left_px + layout.margin_px, round(layout.row_px * 0.8)
    room_px = layout.size_wh_px[0] - layout.margin_px - left
    top = round(layout.row_px * 0.75)
    values = estimate.ranked if estimate is not None else {}
    if not values and primary is None:
        title = {"no_face": "no face", "stale": "too old", "ok": "no primary face" if result.faces else "picture"}[result.status]
        paste(canvas, text_tile(fit_text(title, cap, room_px), cap, _QUIET, _GROUND), left, top)
        return
    if not values and primary is not None:
        title = {"ok": "face", "low_quality": "low quality", "warming_up": "warming up"}[primary.status]
        paste(canvas, text_tile(title, cap, _QUIET, _GROUND), left, top)
        return
    strongest = top_label(values)
    share = f"{values[strongest]:.0%}"
    paste(canvas, text_tile(fit_text(strongest, cap, room_px - text_width_px(share, cap)), cap, _TEXT, _GROUND), left, top)
    _paste_right(canvas, share, cap, _STRONGEST, layout.size_wh_px[0] - layout.margin_px, top)


def _draw_below_heading(canvas: Pixels, layout: PanelLayout, words: str) -> None:
    if not words:
        return
    left = layout.left_px + layout.margin_px
    text = fit_text(words, layout.cap_px, layout.size_wh_px[0] - layout.margin_px - left)
    paste(canvas, text_tile(text, layout.cap_px, _STRONGEST, _GROUND), left, round(layout.row_px * 2.1))


def _draw_value(canvas: Pixels, bar: tuple[int, int, int, int], layout: PanelLayout, value: float | None, color: Color, text: Color) -> None:
    left, top, right, bottom = bar
    label = "–"
    if value is not None:
        _fill(canvas, (left, top, left + round((right - left) * min(max(value, 0.0), 1.0)), bottom), color)
        label = f"{value:.2f}"
    _paste_right(canvas, label, layout.cap_px, text if value is not None else _FAINT, right + layout.value_px, _text_top(bar, layout.cap_px))


def _draw_footer(canvas: Pixels, layout: PanelLayout, result: FrameResult, hud: Hud) -> None:
    cap = max(7, layout.cap_px - 1)
    top = layout.size_wh_px[1] - layout.margin_px - cap + 1
    minutes, seconds = divmod(result.t_media_ns / 1e9, 60)
    left_text = f"{int(minutes)}:{seconds:04.1f}" if result.age_ms is None else f"age {result.age_ms:.0f} ms"
    paste(canvas, text_tile(left_text, cap, _QUIET, _GROUND), layout.left_px + layout.margin_px, top)
    right_text = "" if hud.fps is None else f"{hud.fps:.0f} fps"
    if len(result.faces) > 1:
        right_text = f"{len(result.faces)} faces   {right_text}".rstrip()
    if right_text:
        _paste_right(canvas, right_text, cap, _QUIET, layout.size_wh_px[0] - layout.margin_px, top)


def _draw_face(picture: Pixels, face: FaceResult, layout: PanelLayout) -> None:
    color = _FAINT if face.status != "ok" else _STRONGEST if face.primary else _TEXT
    left, top, right, bottom = (round(edge) for edge in face.box_ltrb_px)
    line = max(1, round(layout.row_px / 14))
    cv2.rectangle(picture, (left, top), (right, bottom), _GROUND, line + 2, cv2.LINE_AA)  # a dark seam keeps the line visible on bright skin
    cv2.rectangle(picture, (left, top), (right, bottom), color, line, cv2.LINE_AA)
    words = [f"#{face.track}"]
    if face.estimate is not None and face.estimate.ranked:
        words.append(_share(face.estimate.ranked))
    elif face.status != "ok":
        words.append(", ".join(face.reasons) or face.status.replace("_", " "))
    _draw_strip(picture, "  ".join(words), color if face.status == "ok" else _QUIET, layout, (left, top, bottom))


def _draw_strip(picture: Pixels, text: str, color: Color, layout: PanelLayout, place: tuple[int, int, int]) -> None:
    """Words above a box, or below where there is no room; `place` is the box's left, top and bottom."""
    left, top, bottom = place
    cap = layout.cap_px
    pad = max(2, cap // 3)
    tile = text_tile(fit_text(text, cap, picture.shape[1] - 2 * pad), cap, color, _GROUND)
    strip_px = tile.shape[0] + 2 * pad
    y = top - strip_px if top >= strip_px else min(max(bottom, 0), picture.shape[0] - strip_px)
    x = min(max(left, 0), max(0, picture.shape[1] - tile.shape[1] - 2 * pad))
    _fill(picture, (x, max(y, 0), min(x + tile.shape[1] + 2 * pad, picture.shape[1]), max(y, 0) + strip_px), _GROUND)
    paste(picture, tile, x + pad, max(y, 0) + pad)


def _paste_right(canvas: Pixels, text: str, cap_px: int, color: Color, right: int, top: int) -> None:
    tile = text_tile(text, cap_px, color, _GROUND)
    paste(canvas, tile, right - tile.shape[1], top)


def _text_top(bar: tuple[int, int, int, int], cap_px: int) -> int:
    return (bar[1] + bar[3] - cap_px) // 2 - 1


def _fill(canvas: Pixels, ltrb: tuple[int, int, int, int], color: Color) -> None:
    left, top, right, bottom = ltrb
    canvas[top:bottom, left:right] = color
