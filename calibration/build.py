"""Makes a calibration set: look at every source, judge the faces, choose, write all files in one step or nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec

from calibration.coverage import coverage
from calibration.default_sources import default_sources
from calibration.errors import TooFewFaces
from calibration.exclusion import Exclusion, read_exclusion
from calibration.judge import FaceJudge, JudgedFace
from calibration.selection import Candidate, KnownPictures, chosen, splits_of, without_doubles
from calibration.set_file import CLIPS, MANIFEST, PICTURES, SPLITS, CalibrationSet, Clip, Item, MadeBy, SetManifest, Split, load_set, pixels_sha256
from calibration.sources import OriginRule, Say, Source, open_sources
from calibration.whole_folder import in_one_step, try_out
from edge.errors import ConfigError, require
from edge.frame import Pixels
from edge.package import file_sha256

# Fewer leave gaps in a calibrator's histograms.
TOO_FEW = 100
# Fewer cannot tell a loss of a point from chance.
TOO_FEW_HELD_OUT = 25
# So many times as many faces are looked at as can be chosen.
_LOOK_AT = 4
_SAY_EVERY = 200


@dataclass(frozen=True)
class Order:
    """What to build.

    Attributes:
        sources: Paths, and `default`.
        licences: One for all paths, or one for each; none where nothing is stated.
        exclude: Files and folders that the set must be disjoint from.
        origins: What belongs together in a folder.
        n_calibration: Most pictures in calibration.
        n_held_out: Most pictures in held-out.
        with_clips: Copy the clips, for packages that read clips.
    """

    sources: tuple[str, ...]
    licences: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    origins: OriginRule = "file"
    n_calibration: int = 512
    n_held_out: int = 160
    with_clips: bool = True


def build_set(order: Order, folder: Path, *, say: Say) -> CalibrationSet:
    """Build a set; the same sources give the same files, byte for byte.

    Args:
        order: What to build.
        folder: Where it goes; a set that is there is replaced in one step, or stays.
        say: Takes progress lines.

    Returns:
        The set, loaded again from its folder.

    Raises:
        ConfigError: The order contradicts itself, an array cannot be read, or the folder holds something else than a set.
        OSError: The folder cannot be written; found out before any picture is looked at.
        MissingDependency: A library is not installed.
        CaptureError: A source does not exist.
        TooFewFaces: Too few faces can be used; the message says how many were refused, and why.
        CalibrationError: The default set's clips are not there.
        PackageError: The default package, which judges the faces, is not there.
    """
    require("tomli_w", install="pip install '.[converters]'   (or: make setup)", why="writing a calibration set")
    folder = folder.resolve()
    require_replaceable(folder)
    try_out(folder)
    sources = _open(order)
    exclusion = read_exclusion(order.exclude, say=say)
    with FaceJudge() as judge:
        survey = _Survey(judge, exclusion, _spoiled_origins(sources, exclusion, say), say)
        for group, source in enumerate(sources):
            survey.look_at(source, group, n=_LOOK_AT * (order.n_calibration + order.n_held_out) // len(sources))
        made_by = MadeBy(versions=_versions(judge), networks=judge.networks)
    candidates, n_doubles = without_doubles(survey.candidates)
    survey.refused["duplicate"] += n_doubles
    placed = splits_of(candidates)
    picked = [
        (split, each)
        for split, most in zip(SPLITS, (order.n_calibration, order.n_held_out), strict=True)
        for each in chosen([candidate for candidate in candidates if placed[candidate.origin] == split], most)
    ]
    refused = {reason: n for reason, n in sorted(survey.refused.items()) if n}
    _check_enough(picked, refused, survey.n_looked_at)
    pictures = [_png(each.face.picture) for _, each in picked]
    items = tuple(_item(each, split, sources[each.group].licence, png) for (split, each), png in zip(picked, pictures, strict=True))
    clips = _clips(sources, survey, placed) if order.with_clips else {}
    manifest = SetManifest(
        schema="edge.calibration/1",
        name=folder.name,
        made_by=made_by,
        n_looked_at=survey.n_looked_at,
        n_faces=len(candidates),
        refused=refused,
        excluded=dict(exclusion.digests),
        coverage=coverage(items),
        items=items,
        clips=tuple(clips),
    )
    _write(folder, manifest, pictures, clips)
    return load_set(folder)


class _Survey:
    """The faces of all sources, and what was refused."""

    def __init__(self, judge: FaceJudge, exclusion: Exclusion, spoiled: Set[str], say: Say) -> None:
        self._judge, self._exclusion, self._spoiled, self._say = judge, exclusion, spoiled, say
        self._known = KnownPictures()
        self.candidates: list[Candidate] = []
        # Clips with a face that can be used.
        self.clips: dict[Path, str] = {}
        self.refused: Counter[str] = Counter()
        self.n_looked_at = 0

    def look_at(self, source: Source, group: int, *, n: int) -> None:
        """Judge about `n` pictures of a source."""
        if line := source.unread_line():
            self._say(line)
        for seen in source.look(n):
            self.n_looked_at += 1
            if self.n_looked_at % _SAY_EVERY == 0:
                self._say(f"{source.name}: looked at {self.n_looked_at} pictures, {len(self.candidates)} faces so far")
            if seen.rgb is None:
                self.refused["unreadable"] += 1
                self._say(f"{seen.source} cannot be read: {seen.problem}")
                continue
            sha256 = pixels_sha256(seen.rgb)
            if seen.origin in self._spoiled or self._is_excluded(seen.rgb, sha256):
                self.refused["excluded"] += 1
                continue
            if self._known.seen_before(seen.rgb, sha256, seen.origin):
                self.refused["duplicate"] += 1
                continue
            for face in self._judge.faces(seen.rgb):
                if not isinstance(face, JudgedFace):
                    self.refused[face] += 1
                elif self._is_excluded(face.picture, face.pixels_sha256):
                    self.refused["excluded"] += 1
                elif face.pixels_sha256 != sha256 and self._known.seen_before(face.picture, face.pixels_sha256, seen.origin):
                    # Somebody cut the same face out of the same picture before.
                    self.refused["duplicate"] += 1
                else:
                    self.candidates.append(Candidate(face, group, seen.origin, seen.source, sha256, seen.split))
                    if seen.clip is not None:
                        self.clips[seen.clip] = seen.origin

    def _is_excluded(self, rgb: Pixels, sha256: str) -> bool:
        return sha256 in self._exclusion.hashes or self._exclusion.shows(rgb)


def require_replaceable(folder: Path) -> None:
    """Check that nothing but an earlier set is lost when a set is written to a folder.

    Raises:
        ConfigError: It is a file, or holds something else.
    """
    hint = "name another folder with -o, or move away what is there"
    if folder.is_dir():
        if strangers := sorted(path.name for path in folder.iterdir() if path.name not in (MANIFEST, PICTURES, CLIPS)):
            raise ConfigError(f"{folder} holds {strangers[0]}, which is no part of a calibration set: it is not replaced", hint=hint)
        if any(folder.iterdir()) and not (folder / MANIFEST).exists():
            raise ConfigError(f"{folder} is there and holds no calibration set: it is not replaced", hint=hint)
    elif folder.exists():
        raise ConfigError(f"{folder} is a file: expected a folder for the calibration set", hint=hint)


def _open(order: Order) -> list[Source]:
    paths = [text for text in order.sources if text != "default"]
    if not order.sources or len(set(order.sources)) < len(order.sources):
        raise ConfigError("expected at least one source, each named once", hint="python -m calibration build --help")
    if len(order.licences) > 1 and len(order.licences) != len(paths):
        raise ConfigError(
            f"expected one licence for all {len(paths)} sources or one for each, got {len(order.licences)}", hint="--licence, once for each SOURCE"
        )
    if order.licences and not paths:
        raise ConfigError("--licence: the default set's licences are known", hint="leave it out")
    licences = list(order.licences) * (len(paths) if len(order.licences) == 1 else 1) or [""] * len(paths)
    sources = default_sources() if "default" in order.sources else []
    return sources + [open_sources(text, licence=licence, origins=order.origins) for text, licence in zip(paths, licences, strict=True)]


def _spoiled_origins(sources: Sequence[Source], exclusion: Exclusion, say: Say) -> set[str]:
    """Return the origins of the clips that share a frame with what is excluded. Every frame counts: a set keeps clips whole."""
    spoiled: set[str] = set()
    if exclusion.hashes:
        for clip in (clip for source in sources for clip in source.clips):
            if exclusion.is_in_clip(clip.path):
                say(f"{clip.path.name} has a frame that is excluded: nothing of '{clip.name}' is taken")
                spoiled.add(clip.name)
    return spoiled


def _check_enough(picked: Sequence[tuple[Split, Candidate]], refused: dict[str, int], n_looked_at: int) -> None:
    counts = Counter(split for split, _ in picked)
    reasons = ", ".join(f"{n} {reason}" for reason, n in refused.items()) or "none"
    for split, least in zip(SPLITS, (TOO_FEW, TOO_FEW_HELD_OUT), strict=True):
        if counts[split] < least:
            raise TooFewFaces(
                f"expected at least {least} pictures for {split}, found {counts[split]} in {n_looked_at} that were looked at; refused: {reasons}",
                hint="give more sources: other people, light and poses; at least two origins, for one alone cannot be in both calibration and held-out",
            )


def _versions(judge: FaceJudge) -> dict[str, str]:
    return {"edge": importlib.metadata.version("facial-affect-edge"), "opencv": cv2.__version__, "engine": judge.engine_description}


def _item(candidate: Candidate, split: Split, licence: str, png: bytes) -> Item:
    face = candidate.face
    return Item(
        file=f"{PICTURES}/{face.pixels_sha256[:20]}.png",
        sha256=hashlib.sha256(png).hexdigest(),
        origin=candidate.origin,
        source=candidate.source,
        licence=licence,
        split=split,
        pixels_sha256=face.pixels_sha256,
        source_sha256=candidate.source_sha256,
        features=face.features,
    )


def _clips(sources: Sequence[Source], survey: _Survey, placed: dict[str, Split]) -> dict[Clip, Path]:
    """Return what the manifest says of each clip, and where it lies."""
    clips: dict[Clip, Path] = {}
    for source in sources:
        for path in (clip.path for clip in source.clips):
            origin = survey.clips.get(path, "")
            # A clip whose faces are all in another one is not kept either.
            if origin in placed and (sha256 := file_sha256(path)) not in {clip.sha256 for clip in clips}:
                file = f"{CLIPS}/{sha256[:20]}{path.suffix.lower()}"
                clips[Clip(file=file, sha256=sha256, origin=origin, source=path.name, licence=source.licence, split=placed[origin])] = path
    return clips


def _png(rgb: Pixels) -> bytes:
    is_gray = bool((rgb == rgb[:, :, :1]).all())
    stored = rgb[:, :, 0] if is_gray else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()


def _write(folder: Path, manifest: SetManifest, pictures: Sequence[bytes], clips: Mapping[Clip, Path]) -> None:
    def fill(new: Path) -> None:
        (new / PICTURES).mkdir(parents=True)
        for item, png in zip(manifest.items, pictures, strict=True):
            (new / item.file).write_bytes(png)
        if clips:
            (new / CLIPS).mkdir()
        for clip, path in clips.items():
            shutil.copyfile(path, new / clip.file)
        (new / MANIFEST).write_bytes(msgspec.toml.encode(manifest))

    in_one_step(folder, fill)
