"""The data path between a frame and its result: detect, crop, infer, decode, smooth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge import quality
from edge.affect import AffectNetworks, FaceReading, Scene, confirms
from edge.clock import StageTimes, monotonic_ns
from edge.config import Config
from edge.detect import FaceDetector
from edge.engine import LOG, Choice, PrecisionChoice, Say, choose, close_engines, open_engines, serving, wait_until_opened
from edge.engine.engine import Engine
from edge.errors import ConfigError, EngineError, PackageError
from edge.face import Face
from edge.frame import Frame, Pixels
from edge.heap import give_back_freed_memory
from edge.package import Package, Precision, load_package
from edge.result import FaceResult, FrameResult
from edge.smooth import Ema, Smoother, Unsmoothed, Values
from edge.track import Track, Tracker

# While every face is being followed, one view of the picture is searched for newcomers this often (media time); a face lost, or none at all, and the whole
# picture is searched at once.
_LOOK_EVERY_NS = 200_000_000
# The detector's box of a face may be smaller than the mesh's, which is the one that counts. Source: 0.93 of it for the largest face of a group photograph.
_BOX_TO_BOX = 0.8


class Analyzer:
    """Networks and tracks of one source. Feed it frames in order.

    Args:
        config: Settings; `source` is not looked at.
        say: Takes lines for the user, from any thread, while TensorRT's plans are built.

    Attributes:
        choice: What runs the networks of the affect package.
        package: The affect package.
        detector_package: The package that finds its faces; None where it looks at whole pictures only.

    Raises:
        ConfigError: An engine or precision that cannot be had was asked for by name.
        MissingDependency: The inference library is not installed.
        PackageError: The package, or the detector that it names, cannot be used.
        EngineError: A network cannot be loaded.
    """

    def __init__(self, config: Config, *, say: Say = LOG.info) -> None:
        self._config = config
        self._say = say
        self._notes: list[str] = []
        self.package: Package = load_package(config.model, allow_untrained=config.allow_untrained)
        if not self.package.manifest.trained:
            self._notes.append(f"package '{self.package.name}' was never trained: its numbers mean nothing, only its times do")
        if self.package.manifest.task != "face-affect":
            raise PackageError(
                f"expected a package of task 'face-affect', got '{self.package.manifest.task}' in {self.package.path}", hint="choose another --model"
            )
        self.detector_package: Package | None = None
        if self.package.manifest.detector:
            self.detector_package = load_package(self.package.detector_path(), allow_untrained=config.allow_untrained)
        self._engines: list[Engine] = []
        self._gpu_starts = True
        try:
            self.choice, self._for_affect = self._open(self.package, config.precision)
            for_detection = self._open(self.detector_package, self._precision_of_detection())[1] if self.detector_package is not None else []
            self._detector = FaceDetector(self.detector_package, for_detection) if self.detector_package is not None else None
            self._networks = AffectNetworks(self.package, self._for_affect)
        except BaseException:
            self.close()
            raise
        self._sound = self._networks.new_sound_ring()
        self._frame_smoother = self._smoother()
        self._tracker = Tracker(self._smoother, max_faces=config.max_faces)
        self._looked_ns: int | None = None
        give_back_freed_memory()

    @property
    def notes(self) -> list[str]:
        """What a user must hear of, such as a GPU that could not be used. May grow while plans are built."""
        return list(dict.fromkeys(self._notes + [note for engine in self._engines for note in engine.notes]))

    @property
    def serving(self) -> tuple[str, Precision]:
        """What runs the affect package's networks at this moment, see `edge.engine.serving`."""
        return serving(self._for_affect, self.choice)

    def wait_until_opened(self) -> None:
        """Wait until TensorRT's first plans are built and opened, where it runs the networks.

        Raises:
            EngineError: A plan cannot be built or opened.
        """
        wait_until_opened(self._for_affect, self.choice)

    @property
    def engine_description(self) -> str:
        """What runs the first of the affect package's networks at this moment."""
        return self._for_affect[0].description

    @property
    def sound_rate_hz(self) -> int | None:
        """The rate at which the package takes sound, one channel of it; None where it takes none."""
        return None if self._sound is None else self._sound.rate_hz

    def step(self, frame: Frame, times: StageTimes) -> FrameResult:
        """Analyse one frame.

        Args:
            frame: The next one; media time must not go back.
            times: What has been measured on this frame so far; gets `detect`, `crop`, `infer`, `decode` and `smooth`. A name with a dot is a part of the
                name before it: `infer.mesh`, `detect.infer`, `crop.spectrogram`.

        Returns:
            The result, stamped with the time it was ready.

        Raises:
            ConfigError: The region of interest lies outside the picture.
            SpecMismatch: Its sound has another rate than `sound_rate_hz`.
            InferenceFailed: A network failed, or the analyzer was closed.
        """
        self._check_roi(frame)
        if self._sound is not None:
            self._sound.add(frame.sound, frame.t_media_ns)
        whole = self._read_frame(frame, times) if self._networks.sees_frames else None
        seen = self._follow(frame, self._detector, times) if self._detector is not None else []
        with times.measure("smooth"):
            frame_raw = None if whole is None else self._networks.frame_estimate(whole)
            frame_estimate = None if whole is None else self._networks.frame_estimate(self._frame_smoother.update(whole, frame.t_media_ns))
            self._tracker.drop_doubles()
            self._tracker.forget(frame.t_media_ns)
            primary = self._tracker.primary(self._config.primary, (frame.width_px, frame.height_px))
            faces = tuple(
                self._face_result(track, reading, frame.t_media_ns, primary=track is primary) for track, reading in seen if track in self._tracker.active
            )
        t_publish_ns = monotonic_ns()
        return FrameResult(
            source=frame.source,
            seq=frame.seq,
            t_media_ns=frame.t_media_ns,
            t_capture_ns=frame.t_capture_ns,
            t_capture_from=frame.t_capture_from,
            t_publish_ns=t_publish_ns,
            age_ms=(t_publish_ns - frame.t_capture_ns) / 1e6 if frame.paced else None,
            status="ok" if faces or self._detector is None else "no_face",
            dropped=frame.dropped,
            stage_ms=times.ms,
            faces=faces,
            frame=frame_estimate,
            frame_raw=frame_raw,
        )

    def close(self) -> None:
        """Free the networks."""
        close_engines(self._engines)
        give_back_freed_memory()

    def _check_roi(self, frame: Frame) -> None:
        if self._config.roi is not None and (self._config.roi[0] >= frame.width_px or self._config.roi[1] >= frame.height_px):
            raise ConfigError(
                f"roi: expected a region inside the picture of {frame.width_px}x{frame.height_px}, got {','.join(map(str, self._config.roi))}",
                hint="--roi L,T,R,B counts pixels from the picture's top left, after rotation",
            )

    def _precision_of_detection(self) -> PrecisionChoice:
        """As asked, if the detector has it: what was asked for by name is the affect package's."""
        asked, detector = self._config.precision, self.detector_package
        if detector is None or asked == "auto" or asked in detector.offers:
            return asked
        self._notes.append(f"the face detector '{detector.name}' runs in fp32: it offers no {asked} (python -m converters quantize {detector.name})")
        return "fp32"

    def _open(self, package: Package, precision: PrecisionChoice) -> tuple[Choice, list[Engine]]:
        """Load a package's networks, on the CPU where `auto` had chosen a GPU that does not start."""
        choice = choose(self._config.engine, precision, package, gpu=self._gpu_starts)
        try:
            engines = open_engines(package, choice, say=self._say)
        except EngineError as error:
            if not (choice.cuda and choice.fallback):
                raise
            self._gpu_starts = False
            self._notes.append(f"ONNX Runtime runs on the CPU, it cannot use the GPU: {error.args[0]}")
            return self._open(package, precision)
        self._engines += engines
        self._notes += choice.notes
        return choice, engines

    def _smoother(self) -> Smoother:
        return Unsmoothed() if self._config.smooth == "none" else Ema(self._config.time_constant)

    def _read_frame(self, frame: Frame, times: StageTimes) -> Values | None:
        return self._networks.read_frame(Scene(_inside(frame.pixels, self._config.roi), frame.t_media_ns), times).values

    def _follow(self, frame: Frame, detector: FaceDetector, times: StageTimes) -> list[tuple[Track, FaceReading]]:
        """Bring the tracks up to this frame: followed faces and newcomers go through the networks as one batch."""
        t_ns, tracker = frame.t_media_ns, self._tracker
        everywhere = not tracker.active or not self._networks.follows
        due = self._looked_ns is None or t_ns - self._looked_ns >= _LOOK_EVERY_NS
        found = self._detect(frame, detector, times, all_views=everywhere) if everywhere or (due and self._may_take_more()) else []
        tracks = list(tracker.active)
        places: Sequence[Face | None] = [track.face for track in tracks] if self._networks.follows else tracker.moved(found)
        followed = [(track, place) for track, place in zip(tracks, places, strict=True) if place is not None]
        scene = Scene(frame.pixels, t_ns, self._sound)
        looked_at = [(place, track.rings) for track, place in followed] + tracker.newcomers(found, t_ns)
        readings = self._networks.read(scene, looked_at, times)

        seen: list[tuple[Track, FaceReading]] = []
        for (track, _), reading in zip(followed, readings, strict=False):
            if self._counts(reading):
                tracker.update(track, reading.face, t_ns)
                seen.append((track, reading))
        kept = {id(track) for track, _ in seen}
        for track in tracks:
            if id(track) not in kept:
                tracker.lose(track, t_ns)
        seen += self._admit(scene, readings[len(followed) :], times)

        if len(kept) < len(tracks) and not everywhere:
            # A face was lost in this very frame: search for it now, so that a quick move costs no frame.
            again = tracker.newcomers(self._detect(frame, detector, times, all_views=True), t_ns)
            seen += self._admit(scene, self._networks.read(scene, again, times), times)
        return seen

    def _admit(self, scene: Scene, newcomers: Sequence[FaceReading], times: StageTimes) -> list[tuple[Track, FaceReading]]:
        """Give tracks to the newcomers that the networks confirm: landmarks that are found again, in the same place, in the crop that they define.

        A detector takes skin-coloured lettering for a face now and then, and landmarks fit themselves to anything; but on what is no face the second fit, in
        the crop that the first one defines, is unsure or lies elsewhere. A face is let in on two readings, and stays while the package's own limit is met.
        """
        readings = [reading for reading in newcomers if self._counts(reading)]
        landmarks = self._networks.landmarks
        if landmarks is not None:
            readings = [reading for reading in readings if reading.presence >= landmarks.admit_presence]
            again = self._networks.read(scene, [(reading.face, reading.rings) for reading in readings], times)
            readings = [second for first, second in zip(readings, again, strict=True) if self._counts(second) and confirms(first, second, landmarks)]
        admitted = []
        size_wh_px = (scene.rgb.shape[1], scene.rgb.shape[0])
        for reading in sorted(readings, key=lambda reading: -reading.face.side_px):
            if not self._tracker.unexplained([reading.face]):
                continue
            if self._tracker.full and not self._tracker.make_room(reading.face, self._config.primary, size_wh_px, scene.t_media_ns):
                continue
            track = self._tracker.start(reading.face, scene.t_media_ns, reading.rings)
            self._tracker.update(track, reading.face, scene.t_media_ns)
            admitted.append((track, reading))
        return admitted

    def _may_take_more(self) -> bool:
        # By the rule `longest` nobody takes another one's place.
        return not self._tracker.full or self._config.primary != "longest"

    def _detect(self, frame: Frame, detector: FaceDetector, times: StageTimes, *, all_views: bool) -> list[Face]:
        self._looked_ns = frame.t_media_ns
        with times.measure("detect"):
            left, top = (self._config.roi or (0, 0))[:2]
            faces = detector.detect(_inside(frame.pixels, self._config.roi), times, all_views=all_views)
            return [_shifted(face, left, top) for face in faces if face.side_px >= _BOX_TO_BOX * self._config.min_face]

    def _counts(self, reading: FaceReading) -> bool:
        """Whether a reading is of a face that the user asked for."""
        if not reading.present or reading.face.side_px < self._config.min_face:
            return False
        if self._config.roi is None:
            return True
        left, top, right, bottom = self._config.roi
        x, y = reading.face.center_px
        return left <= x < right and top <= y < bottom

    def _face_result(self, track: Track, reading: FaceReading, t_media_ns: int, *, primary: bool) -> FaceResult:
        withheld = quality.reasons(self.package.manifest.quality, face=reading.face, pose=reading.pose, crop_sharpness=reading.sharpness) + reading.lacks
        values = reading.values
        raw = None if values is None else self._networks.estimate(values)
        smoothed = None if withheld or values is None else self._networks.estimate(track.smoother.update(values, t_media_ns))
        return FaceResult(
            track=track.number,
            box_ltrb_px=reading.face.box_ltrb_px,
            score=reading.presence,
            status="low_quality" if withheld else "warming_up" if reading.warming_up else "ok",
            reasons=withheld,
            pose=reading.pose,
            estimate=smoothed,
            raw=raw,
            primary=primary,
        )


def _inside(pixels: Pixels, roi: tuple[int, int, int, int] | None) -> Pixels:
    if roi is None:
        return pixels
    left, top, right, bottom = roi
    return pixels[top:bottom, left:right]


def _shifted(face: Face, left_px: int, top_px: int) -> Face:
    if not left_px and not top_px:
        return face
    left, top, right, bottom = face.box_ltrb_px
    return Face(
        box_ltrb_px=(left + left_px, top + top_px, right + left_px, bottom + top_px), eyes_px=face.eyes_px + np.array([left_px, top_px]), score=face.score
    )
