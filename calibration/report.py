"""What a set is, for a person to read, and what only its pictures can tell."""

from __future__ import annotations

from collections import Counter

from calibration.coverage import coverage, coverage_lines
from calibration.errors import SetCorrupt
from calibration.set_file import MANIFEST, SPLITS, CalibrationSet, pixels_sha256, read_picture

# Source: examples/onnx_ptq/README.md of NVIDIA's Model-Optimizer, for networks that read pictures.
ENOUGH = 500


def lines(found: CalibrationSet) -> list[str]:
    """Return what a set is: counts, licences, what was refused, what it covers."""
    manifest = found.manifest
    size_mb = sum(path.stat().st_size for path in found.path.rglob("*") if path.is_file()) / 1e6
    counts = Counter(item.split for item in manifest.items)
    clips = Counter(clip.split for clip in manifest.clips)
    result = [
        f"set '{manifest.name}', {size_mb:.1f} MB, SHA-256 {found.sha256}",
        *(
            f"  {split}: {counts[split]} pictures of {len({i.origin for i in manifest.items if i.split == split})} origins, {clips[split]} clips"
            for split in SPLITS
        ),
        f"  looked at {manifest.n_looked_at}, usable faces {manifest.n_faces}; refused: {_counts(manifest.refused)}",
    ]
    if counts["calibration"] < ENOUGH:
        result.append(f"  warning: {counts['calibration']} pictures for calibration; NVIDIA asks for at least {ENOUGH}: give more sources")
    for licence, n in sorted(Counter(item.licence for item in manifest.items).items()):
        result.append(f"  {n} pictures: {licence or 'licence not stated: keep them to yourself'}")
    result += [f"  disjoint from {name} (hash of its pictures' hashes {digest[:12]})" for name, digest in manifest.excluded.items()]
    return [*result, "  pictures in calibration/held-out:", *coverage_lines(manifest.coverage)]


def check_pictures(found: CalibrationSet) -> None:
    """Check what the hashes of files do not say: that the pictures decode to the pixels that were chosen, none of them twice, and that the coverage is theirs.

    Raises:
        SetCorrupt: Something differs.
    """
    items = found.manifest.items
    for item in items:
        if pixels_sha256(read_picture(found.path / item.file)) != item.pixels_sha256:
            raise SetCorrupt(f"the pixels of {found.path / item.file} are not the ones that its manifest names", hint="build the set again")
    if len({item.pixels_sha256 for item in items}) < len(items):
        raise SetCorrupt(f"{found.path / MANIFEST} lists a picture twice", hint="build the set again")
    if coverage(items) != found.manifest.coverage:
        raise SetCorrupt(f"{found.path / MANIFEST}: the coverage is not that of its pictures", hint="build the set again")


def _counts(refused: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in refused.items()) or "none"
