"""From settings to the text of a pipeline. Nothing here needs GStreamer: what the machine has comes in as `has_element` and `modes`.

head          the source, up to raw or JPEG pictures
queue         `waiting`: decouples the source; the newest frame wins in it where the source is live
per_picture   decoding of single pictures, so that overwritten ones cost nothing
videoconvert  idle unless the pixels are of a kind that `edge.capture.pixels` does not read
appsink       `frames`

and where sound is wanted, a branch of its own:

sound         where it comes from, up to raw sound
audioconvert  `hearing`: one channel of int16; then audioresample to the rate that is wanted
appsink       `samples`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from edge.capture.cameras import Mode
from edge.capture.source import Rotation, SourceSettings, masked
from edge.errors import CaptureError, ConfigError, MissingDependency
from edge.gst import quoted

HasElement = Callable[[str], bool]
Pace = Literal["every", "newest", "clocked"]

# The odd sizes of I420 and NV12 go through `videoconvert` to RGB: OpenCV's conversions want even ones.
RAW_CAPS = "video/x-raw,format={I420,NV12},width=[2,32768,2],height=[2,32768,2];video/x-raw,format={RGB,RGBA,GRAY8}"
_UNBOUNDED = "max-size-bytes=0 max-size-time=0"
_N_SOUNDS = 500  # buffers, of 10 ms (a sound card's) and more
# Settings of elements by their name and by pace: every frame of a file; the newest of a live source; the newest of a file played at its own speed.
TAILS: dict[Pace, dict[str, str]] = {
    "every": {
        "waiting": f"max-size-buffers=4 {_UNBOUNDED}",
        "frames": "max-buffers=1 drop=false sync=false",
        "samples": f"max-buffers={_N_SOUNDS} drop=false sync=false",
    },
    "newest": {
        "waiting": f"leaky=downstream max-size-buffers=1 {_UNBOUNDED}",
        "frames": "max-buffers=1 drop=true sync=false",
        "samples": f"max-buffers={_N_SOUNDS} drop=true sync=false",
    },
    "clocked": {
        "waiting": f"max-size-buffers=4 {_UNBOUNDED}",
        "frames": "max-buffers=1 drop=true sync=true",
        # Ahead of the pictures by 0.2 s, so that it is there when the one comes that it belongs to.
        "samples": f"max-buffers={_N_SOUNDS} drop=true sync=true ts-offset=-200000000",
    },
}
# How far a demuxer may read ahead to find sound that lies far from its pictures in the file.
_READ_AHEAD_BYTES = 16 << 20
SOUND_DECODER = "sound-decoder"
MICROPHONE = "microphone"

_CAMERA_FORMATS = ("NV12", "I420", "YUY2", "UYVY", "RGB", "GRAY8", "MJPG")
_FORMAT_ALIASES = {"YUYV": "YUY2", "MJPEG": "MJPG", "JPEG": "MJPG", "GREY": "GRAY8"}
_DEFAULT_SIZE_PX = (1280, 720)
_DEFAULT_FPS = 30
_N_MODES_SHOWN = 16
# Source: the `flip-method` values of nvvidconv, NVIDIA's Accelerated GStreamer guide; 4 to 7 are the flips.
_FLIP_METHODS: dict[tuple[Rotation, bool], int] = {
    (0, False): 0,
    (270, False): 1,
    (180, False): 2,
    (90, False): 3,
    (0, True): 4,
    (270, True): 5,
    (180, True): 6,
    (90, True): 7,
}
# NVIDIA's converter knows the colours of its own surfaces, which their caps leave out: taking RGBA from it needs no guess.
_FROM_NVMM = 'capsfilter caps="video/x-raw,format=RGBA"'

# A property in a pipeline's text: its name, and its value with the quotes. Source: `_assign` and `_string` in GStreamer's gst/parse/parse.l.
_PROPERTY = re.compile(r"""(?<!\S)([\w:-]+)\s*=\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\S+)""")


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline to be.

    Attributes:
        name: Short name of the source.
        where: The source in messages; holds no password.
        head: See above.
        per_picture: See above; may be empty.
        pace: Which frames count.
        endless: A live source that has no end: when it ends, it was lost.
        rotate_deg: Turn that is still to be done after the pull.
        mirror: Flip that is still to be done after the pull.
        sound: See above; empty where there is none.
        sound_rate_hz: Rate of the samples; None where nobody wants them.
        hint: What to do where GStreamer cannot build it.
    """

    name: str
    where: str
    head: str
    pace: Pace
    per_picture: str = ""
    endless: bool = False
    rotate_deg: Rotation = 0
    mirror: bool = False
    sound: str = ""
    sound_rate_hz: int | None = None
    hint: str = "try it with gst-launch-1.0"

    @property
    def text(self) -> str:
        """The pipeline in the syntax of `gst-launch-1.0`."""
        settings = TAILS[self.pace]
        middle = f"{self.per_picture} ! " if self.per_picture else ""
        pictures = f'{self.head} ! queue name=waiting {settings["waiting"]} ! {middle}videoconvert ! appsink name=frames {settings["frames"]} caps="{RAW_CAPS}"'
        if not self.sound:
            return pictures
        if self.sound_rate_hz is None:
            return f"{pictures}  {self.sound} ! fakesink sync=false async=false"
        caps = f"audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate={self.sound_rate_hz}"
        # Dithering would put noise where there is silence.
        convert = "audioconvert name=hearing dithering=none ! audioresample"
        return f'{pictures}  {self.sound} ! {convert} ! appsink name=samples async=false {settings["samples"]} caps="{caps}"'


def plan_file(settings: SourceSettings, has_element: HasElement) -> Plan:
    """Plan a clip: every frame, or at its own speed where `settings.realtime`."""
    # `caps` and `expose-all-streams` leave subtitles undecoded, and sound that nobody wants. NVIDIA's decoders give memory that only nvvidconv can read.
    if settings.sound_rate_hz is None:
        decoder = 'decodebin caps="video/x-raw(ANY)" expose-all-streams=false'
    else:
        decoder = f'decodebin name=decoder max-size-bytes={_READ_AHEAD_BYTES} caps="video/x-raw(ANY);audio/x-raw" expose-all-streams=false'
    # One picture for each frame of interlaced video; idle otherwise.
    converter = f"nvvidconv ! {_FROM_NVMM}" if has_element("nvvidconv") else "deinterlace fields=top"
    return Plan(
        name=Path(settings.uri).name,
        where=settings.uri,
        head=f"filesrc location={quoted(settings.uri)} ! {decoder} ! {converter}",
        pace="clocked" if settings.realtime else "every",
        rotate_deg=settings.rotate_deg,
        mirror=settings.mirror,
        sound="decoder." if settings.sound_rate_hz else "",
        sound_rate_hz=settings.sound_rate_hz,
    )


def plan_rtsp(settings: SourceSettings, has_element: HasElement) -> Plan:
    """Plan a stream. Over TCP: lost packets would reach the network as smeared faces.

    Raises:
        ConfigError: The address names no host.
    """
    address = urlsplit(settings.uri)
    if not address.hostname:
        raise ConfigError(f"expected rtsp://HOST[:PORT]/PATH, got {settings.uri}")
    host = address.hostname + (f":{address.port}" if address.port else "")
    name = "name=server " if settings.sound_rate_hz else ""
    source = f"rtspsrc {name}location={quoted(settings.uri)} protocols=tcp latency=50 drop-on-latency=true"
    sound = f'server. ! capsfilter caps="application/x-rtp,media=audio" ! decodebin name={SOUND_DECODER} caps="audio/x-raw"'
    converter = f" ! nvvidconv ! {_FROM_NVMM}" if has_element("nvvidconv") else ""
    return Plan(
        name=f"rtsp-{address.hostname}",
        where=urlunsplit((address.scheme, host, address.path, "", "")),
        head=f'{source} ! capsfilter caps="application/x-rtp,media=video" ! decodebin caps="video/x-raw(ANY)"{converter}',
        pace="newest",
        endless=True,
        rotate_deg=settings.rotate_deg,
        mirror=settings.mirror,
        sound=sound if settings.sound_rate_hz else "",
        sound_rate_hz=settings.sound_rate_hz,
    )


def plan_text(settings: SourceSettings) -> Plan:
    """Plan the user's own pipeline; whether it is live shows only when it starts.

    It ends with the pictures. Sound comes from a branch before them whose last element is named `sound`, or from a `decodebin` of that name:
    `gst:audiotestsrc ! queue name=sound videotestsrc`, `gst:filesrc location=a.mp4 ! decodebin name=sound ! deinterlace`.

    Raises:
        ConfigError: There is no pipeline, it has an appsink of its own, or it ends with the sound.
    """
    text = settings.uri.removeprefix("gst:").strip()
    if not text or re.search(r"(^|!)\s*appsink\b", text):
        raise ConfigError(
            f"expected gst:PIPELINE up to raw video, without a sink; got '{settings.uri}'",
            hint="for example --source 'gst:videotestsrc is-live=true'; an appsink is added",
        )
    after_sound = _after_element(text, "sound")
    if after_sound == "":
        raise ConfigError(
            f"expected the pictures at the end of gst:PIPELINE, got the sound: '{settings.uri}'",
            hint="for example --source 'gst:audiotestsrc ! queue name=sound videotestsrc'",
        )
    # Sound that nobody wants must still flow somewhere where its branch ends.
    sound = "sound." if after_sound and (settings.sound_rate_hz is not None or not after_sound.startswith("!")) else ""
    return Plan(
        name="gst",
        where=masked(f"gst:{text}"),
        head=text,
        pace="clocked" if settings.realtime else "every",
        endless="num-buffers=" not in text,
        rotate_deg=settings.rotate_deg,
        mirror=settings.mirror,
        sound=sound,
        sound_rate_hz=settings.sound_rate_hz,
        hint="the element named `sound` must give sound: give one of pictures another name" if sound else "try it with gst-launch-1.0",
    )


def _after_element(text: str, name: str) -> str | None:
    """What follows an element of this name and its properties in a pipeline's text; None where there is none."""
    for found in _PROPERTY.finditer(text):
        if found.group(1) == "name" and found.group(2) in (name, quoted(name)):
            rest = text[found.end() :].lstrip()
            while more := _PROPERTY.match(rest):
                rest = rest[more.end() :].lstrip()
            return rest
    return None


def plan_csi(settings: SourceSettings, has_element: HasElement) -> Plan:
    """Plan a CSI camera of a Jetson; turning and scaling are done by its video converter.

    Raises:
        ConfigError: The number or the pixel format makes no sense.
        MissingDependency: This is no Jetson, or its camera software is not installed.
    """
    number = settings.uri.removeprefix("camera:csi") or "0"
    if not number.isdecimal():
        raise ConfigError(f"expected camera:csi or camera:csi0, camera:csi1, ...; got {settings.uri}")
    if settings.pixel_format is not None:
        raise ConfigError(f"a CSI camera has no pixel formats to choose from, got {settings.pixel_format}", hint="leave --camera-format out")
    for element in ("nvarguscamerasrc", "nvvidconv"):
        if not has_element(element):
            raise MissingDependency(
                f"{settings.uri} needs the GStreamer element '{element}', which exists on NVIDIA Jetson only",
                hint="on a Jetson: sudo apt-get install nvidia-l4t-camera nvidia-l4t-gstreamer; elsewhere use camera:0",
            )
    caps = "video/x-raw(memory:NVMM)" + _size_and_rate(settings.size_px, None if settings.fps is None else fraction_of(settings.fps))
    flip = _FLIP_METHODS[settings.rotate_deg, settings.mirror]
    return Plan(
        name=f"csi-{number}",
        where=settings.uri,
        head=f'nvarguscamerasrc sensor-id={number} ! capsfilter caps="{caps}" ! nvvidconv flip-method={flip} ! {_FROM_NVMM}',
        pace="newest",
        endless=True,
        sound=_microphone(settings),
        sound_rate_hz=settings.sound_rate_hz,
    )


def plan_v4l2(settings: SourceSettings, has_element: HasElement, *, device: str, modes: Sequence[Mode]) -> Plan:
    """Plan a V4L2 camera in the mode that fits best what was asked.

    Args:
        settings: What was asked.
        has_element: What GStreamer has.
        device: Such as `/dev/video0`.
        modes: What the camera offers.

    Raises:
        CaptureError: It does not offer that; the message says what it offers.
    """
    mode, size, rate = choose_mode(settings, modes, where=device)
    caps = "image/jpeg" if mode.pixel_format == "MJPG" else f"video/x-raw,format={mode.pixel_format}"
    number = device.removeprefix("/dev/video")
    return Plan(
        name=f"camera-{number if number.isdecimal() else device.rpartition('/')[2]}",
        where=device,
        head=f'v4l2src device={quoted(device)} ! capsfilter caps="{caps}{_size_and_rate(size, rate)}"',
        per_picture=_per_picture(mode.pixel_format, has_element),
        pace="newest",
        endless=True,
        rotate_deg=settings.rotate_deg,
        mirror=settings.mirror,
        sound=_microphone(settings),
        sound_rate_hz=settings.sound_rate_hz,
    )


def _microphone(settings: SourceSettings) -> str:
    # ALSA's `default` is the sound server's where one runs; `autoaudiosrc` would play silence where there is no microphone.
    return f"alsasrc name={MICROPHONE} device={quoted(settings.microphone)}" if settings.microphone else ""


def _per_picture(pixel_format: str, has_element: HasElement) -> str:
    # 4:2:2 has a fast way to I420 and a slow one to RGB, and `videoconvert` would take the slow one.
    to_i420 = 'videoconvert ! capsfilter caps="video/x-raw,format=I420"'
    if pixel_format == "MJPG":
        if has_element("nvv4l2decoder") and has_element("nvvidconv"):
            return f"nvv4l2decoder mjpeg=1 ! nvvidconv ! {_FROM_NVMM}"
        return f"jpegdec ! {to_i420}"
    return to_i420 if pixel_format in ("YUY2", "UYVY") else ""


def choose_mode(settings: SourceSettings, modes: Sequence[Mode], *, where: str) -> tuple[Mode, tuple[int, int], Fraction]:
    """Choose a camera's mode: what was asked for exactly, and for the rest 30 frames a second, then the size next to 1280x720, then raw before JPEG.

    Returns:
        The mode, the size in pixels (width, height) and the rate.

    Raises:
        CaptureError: The camera offers nothing like it; the message lists what it offers.
    """
    wanted_format = (settings.pixel_format or "").upper()
    wanted_format = _FORMAT_ALIASES.get(wanted_format, wanted_format)
    wanted_rate = None if settings.fps is None else fraction_of(settings.fps)
    choices: list[tuple[Mode, tuple[int, int], Fraction]] = []
    for mode in modes:
        size = mode.nearest_size(settings.size_px or _DEFAULT_SIZE_PX)
        rate = mode.nearest_rate(wanted_rate or Fraction(_DEFAULT_FPS))
        right_format = mode.pixel_format in _CAMERA_FORMATS and wanted_format in ("", mode.pixel_format)
        right_rate = wanted_rate is None or abs(rate / wanted_rate - 1) < Fraction(1, 100)
        if right_format and right_rate and settings.size_px in (None, size):
            choices.append((mode, size, rate))
    if choices:
        return min(choices, key=_preference)
    size_text = "x".join(map(str, settings.size_px or ()))
    rate_text = "" if settings.fps is None else f"at {settings.fps:g} fps"
    asked = " ".join(filter(None, (wanted_format, size_text, rate_text))) or "pictures that can be read"
    usable = [mode for mode in modes if mode.pixel_format in _CAMERA_FORMATS]
    bare_sensor = modes and not usable
    offered = [str(mode) for mode in usable or modes if wanted_format in ("", mode.pixel_format)] or sorted({mode.pixel_format for mode in usable or modes})
    more = f"; and {len(offered) - _N_MODES_SHOWN} more" if len(offered) > _N_MODES_SHOWN else ""
    raise CaptureError(
        f"{where} does not offer {asked}; it offers: {'; '.join(offered[:_N_MODES_SHOWN]) or 'nothing'}{more}",
        hint="it looks like a bare sensor: use camera:csi0" if bare_sensor else "choose --camera-size, --camera-fps and --camera-format from these",
    )


def _preference(choice: tuple[Mode, tuple[int, int], Fraction]) -> tuple[Fraction, int, int]:
    mode, (width, height), rate = choice
    lacking = max(Fraction(0), Fraction(_DEFAULT_FPS) * 99 / 100 - rate)
    return lacking, abs(width * height - _DEFAULT_SIZE_PX[0] * _DEFAULT_SIZE_PX[1]), _CAMERA_FORMATS.index(mode.pixel_format)


def fraction_of(fps: float) -> Fraction:
    """Return a rate as the fraction that caps want: 29.97 is 30000/1001."""
    for exact in (Fraction(round(fps)), Fraction(round(fps * 1.001) * 1000, 1001)):
        if exact and abs(float(exact) - fps) < 0.005:
            return exact
    return Fraction(fps).limit_denominator(1000)


def _size_and_rate(size_px: tuple[int, int] | None, rate: Fraction | None) -> str:
    size = f",width={size_px[0]},height={size_px[1]}" if size_px else ""
    return size + (f",framerate={rate.numerator}/{rate.denominator}" if rate else "")
