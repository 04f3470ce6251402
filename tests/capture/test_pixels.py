"""Conversion to RGB against the formulas of the standards, computed in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.capture.pixels import RawLayout, RgbConverter, combined_turn, upright
from edge.capture.source import Rotation
from tests.capture.clip_maker import corner_colors, corner_picture

BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
TURNS: list[tuple[Rotation, bool]] = [(turn, mirror) for turn in (0, 90, 180, 270) for mirror in (False, True)]


def yuv_from(rgb: NDArray[np.float64], weights: tuple[float, float], *, full_range: bool) -> NDArray[np.uint8]:
    kr, kb = weights
    r, g, b = (rgb[..., i] / 255 for i in range(3))
    y = kr * r + (1 - kr - kb) * g + kb * b
    planes = np.stack([y, (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))])
    if full_range:
        levels = planes * 255 + np.array([0, 128, 128])[:, None, None]
    else:
        levels = planes * np.array([219, 224, 224])[:, None, None] + np.array([16, 128, 128])[:, None, None]
    rounded: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return rounded


def blocks(height: int, width: int) -> NDArray[np.float64]:
    """Colours of all sorts, saturated ones too, constant over 2x2 pixels so that chroma loses nothing."""
    generator = np.random.default_rng(5)
    colors = generator.integers(0, 256, (height // 2, width // 2, 3)).astype(np.float64)
    colors[:2] = generator.choice([0.0, 255.0], (2, width // 2, 3))
    return colors.repeat(2, axis=0).repeat(2, axis=1)


def memory_of(pixel_format: str, planes: NDArray[np.uint8], *, padding: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Lay planes out in memory with rows that are `padding` bytes longer than the picture, and rubbish in between."""
    y, u, v = planes[0], planes[1, ::2, ::2], planes[2, ::2, ::2]
    parts = [y, u, v] if pixel_format == "I420" else [y, np.stack([u, v], axis=-1).reshape(u.shape[0], -1)]
    memory: list[NDArray[np.uint8]] = []
    offsets, strides = [], []
    for part in parts:
        rows = np.full((part.shape[0] + padding, part.shape[1] + padding), 77, np.uint8)
        rows[: part.shape[0], : part.shape[1]] = part
        offsets.append(sum(rows.size for rows in memory))
        strides.append(rows.shape[1])
        memory.append(rows.ravel())
    layout = {"pixel_format": pixel_format, "height_px": y.shape[0], "width_px": y.shape[1], "offsets": tuple(offsets), "strides": tuple(strides)}
    return np.concatenate(memory), layout


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("weights", [BT601, BT709, BT2020])
@pytest.mark.parametrize("pixel_format", ["I420", "NV12"])
def test_every_standard_gives_the_colours_that_went_in(pixel_format: str, weights: tuple[float, float], full_range: bool, padding: int) -> None:
    rgb = blocks(34, 46)
    memory, layout = memory_of(pixel_format, yuv_from(rgb, weights, full_range=full_range), padding=padding)
    before = memory.copy()
    converted = RgbConverter(RawLayout(**layout, luma_weights=weights, full_range=full_range))(memory)
    error = np.abs(converted - rgb)
    # Two roundings of 8-bit YUV, spread by factors of up to 2: about one level.
    assert error.mean() < 1.3
    assert error.max() <= 8
    assert np.array_equal(memory, before)
    assert converted.flags.owndata
    assert converted.flags.c_contiguous


def test_the_wrong_standard_would_be_seen() -> None:
    rgb = blocks(34, 46)
    memory, layout = memory_of("I420", yuv_from(rgb, BT709, full_range=False), padding=0)
    assert np.abs(RgbConverter(RawLayout(**layout, luma_weights=BT601))(memory) - rgb).mean() > 5
    assert np.abs(RgbConverter(RawLayout(**layout, luma_weights=BT709, full_range=True))(memory) - rgb).mean() > 5


def test_a_converter_can_be_used_again() -> None:
    first, second = blocks(16, 16), blocks(16, 16)[::-1].copy()
    memories = [memory_of("I420", yuv_from(rgb, BT709, full_range=True), padding=0) for rgb in (first, second)]
    convert = RgbConverter(RawLayout(**memories[0][1], luma_weights=BT709, full_range=True))
    one, two = (convert(memory) for memory, _ in memories)
    assert np.abs(one - first).mean() < 1.3
    assert np.abs(two - second).mean() < 1.3


@pytest.mark.parametrize(("pixel_format", "channels"), [("RGB", 3), ("RGBA", 4)])
def test_padded_rgb_of_odd_size(pixel_format: Any, channels: int) -> None:
    rows = np.random.default_rng(2).integers(0, 256, (7, 5 * channels + 3), dtype=np.uint8)
    layout = RawLayout(pixel_format=pixel_format, width_px=5, height_px=7, strides=(rows.shape[1],), offsets=(0,))
    expected = rows[:, : 5 * channels].reshape(7, 5, channels)[:, :, :3]
    assert np.array_equal(RgbConverter(layout)(rows.ravel()), expected)


@pytest.mark.parametrize(("full_range", "black", "white"), [(True, 0, 255), (False, 16, 235)])
def test_gray_spreads_over_its_range(full_range: bool, black: int, white: int) -> None:
    memory = np.array([black, white, 0, 255], np.uint8)
    layout = RawLayout(pixel_format="GRAY8", width_px=4, height_px=1, strides=(4,), offsets=(0,), full_range=full_range)
    assert RgbConverter(layout)(memory)[0, :, 1].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize(
    ("rotate_deg", "mirror", "corners"),
    [(0, False, "RGBW"), (90, False, "BRWG"), (180, False, "WBGR"), (270, False, "GWRB"), (0, True, "GRWB"), (90, True, "RBGW")],
)
def test_upright_turns_clockwise_and_then_mirrors(rotate_deg: Rotation, mirror: bool, corners: str) -> None:
    turned = upright(corner_picture(), rotate_deg=rotate_deg, mirror=mirror)
    assert "".join(corner_colors(turned)) == corners
    assert turned.shape == ((64, 32, 3) if rotate_deg in (90, 270) else (32, 64, 3))
    assert turned.flags.c_contiguous


@pytest.mark.parametrize("first", TURNS)
@pytest.mark.parametrize("then", TURNS)
def test_two_turns_are_one(first: tuple[Rotation, bool], then: tuple[Rotation, bool]) -> None:
    twice = upright(upright(corner_picture(), rotate_deg=first[0], mirror=first[1]), rotate_deg=then[0], mirror=then[1])
    turn, mirror = combined_turn(first, then)
    assert np.array_equal(upright(corner_picture(), rotate_deg=turn, mirror=mirror), twice)
