"""What took minutes is computed once: again where what it depends on has changed, and only there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.training.kept_arrays import kept, networks_sha256
from edge.package import Package, load_package
from edge.stage import Presence


def test_an_array_is_computed_once_for_what_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    computed = []

    def compute() -> NDArray[np.int64]:
        computed.append(1)
        return np.arange(3)

    for depends_on, n in (("a", b"b"), 1), (("a", b"b"), 1), (("ab", b""), 2), (("a", b"c"), 3):
        np.testing.assert_array_equal(kept(depends_on, compute), np.arange(3))
        assert len(computed) == n


def test_what_a_package_says_depends_on_its_stages_and_their_networks_alone(models: Path) -> None:
    package = load_package(models / "mesh-chain")
    manifest = package.manifest

    def changed(**fields: object) -> Package:
        return msgspec.structs.replace(package, manifest=msgspec.structs.replace(manifest, **fields), sha256="0" * 64)

    expected = networks_sha256(package)
    assert networks_sha256(changed(description="in other words", evidence={"parity.json": "0" * 64})) == expected
    mesh, *others = manifest.stages
    assert networks_sha256(changed(files={**manifest.files, mesh.model: "0" * 64})) != expected
    assert networks_sha256(changed(stages=(msgspec.structs.replace(mesh, input=msgspec.structs.replace(mesh.input, scale=0.5)), *others))) != expected
    # Of the stages that say whether there is a face: another network of emotions does not matter.
    (emotions,) = (stage for stage in manifest.stages if not any(isinstance(output, Presence) for output in stage.outputs) and stage.name == "emotion")
    of_presence = networks_sha256(package, Presence)
    assert of_presence != expected
    assert networks_sha256(changed(files={**manifest.files, emotions.model: "0" * 64}), Presence) == of_presence
    assert networks_sha256(changed(files={**manifest.files, mesh.model: "0" * 64}), Presence) != of_presence
