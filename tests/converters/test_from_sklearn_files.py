"""Files of estimators: only `.skops` is read, nothing in it runs, and what is wrong with a file is said."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from converters.errors import ConversionError
from converters.from_sklearn.sklearn_original import SklearnOriginal
from converters.from_sklearn.skops_file import load_skops
from edge.package import file_sha256
from tests.converters.gray_faces import answers, stage

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROWS = np.random.default_rng(0).random((60, 676)).astype(np.float32)
CLASSES = np.arange(60) % 5


def forest() -> Any:
    return RandomForestClassifier(3, max_leaf_nodes=6, random_state=0).fit(ROWS, CLASSES)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("make", [forest, lambda: MLPClassifier((4,), max_iter=5, random_state=0).fit(ROWS, CLASSES)])
def test_what_was_saved_is_what_runs(make: Callable[[], Any], tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    estimator = make()
    skops.io.dump(estimator, path)
    original = SklearnOriginal.from_file(path, stage())
    assert original.sha256 == file_sha256(path)
    assert np.array_equal(answers(original, ROWS.reshape(-1, 1, 26, 26)), estimator.predict_proba(ROWS).astype(np.float32))


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.pickle", "model.skops"])
def test_pickles_are_not_opened(name: str, tmp_path: Path) -> None:
    path, touched = tmp_path / name, tmp_path / "touched"
    path.write_bytes(pickle.dumps(Harmful(touched)))
    with pytest.raises(ConversionError, match=r"is a pickle: loading one runs whatever its author put in[^\n]*\n  on the machine that trained it: python -c"):
        load_skops(path)
    assert not touched.exists()
    pickle.loads(path.read_bytes())
    assert touched.exists()  # it would have


def test_the_line_that_the_hint_gives_converts_a_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.joblib").write_bytes(pickle.dumps(forest()))
    with pytest.raises(ConversionError) as caught:
        load_skops(tmp_path / "model.joblib")
    line = caught.value.hint.split('python -c "')[1].removesuffix('"')
    monkeypatch.chdir(tmp_path)
    exec(line, {})
    assert isinstance(load_skops(tmp_path / "model.skops").estimator, RandomForestClassifier)


def test_a_skops_file_with_foreign_types_is_refused_by_their_names(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    harmful = make_pipeline(FunctionTransformer(touched.touch), LogisticRegression())
    skops.io.dump(harmful, tmp_path / "model.skops")
    with pytest.raises(ConversionError, match=r"holds .*: expected nothing but scikit-learn's estimators and numbers") as caught:
        load_skops(tmp_path / "model.skops")
    assert "pathlib" in str(caught.value)
    # The same with a function that could be called: the archive is rewritten so that the estimator's class is `os.system`.
    skops.io.dump(forest(), tmp_path / "plain.skops")
    content = rewritten(tmp_path / "plain.skops", lambda schema: {**schema, "__class__": "system", "__module__": "os"})
    (tmp_path / "system.skops").write_bytes(content)
    with pytest.raises(ConversionError, match=r"holds os\.system: expected nothing"):
        load_skops(tmp_path / "system.skops")
    assert not touched.exists()


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A .skops file with another schema."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(content))) if name == "schema.json" else content)
    return buffer.getvalue()


def test_trees_that_lead_outside_themselves_are_refused(tmp_path: Path) -> None:
    for field, value, message in (
        ("left_child", 1000, "node 0 of 11 leads to node 1000"),
        ("right_child", 0, "node 0 of 11 leads to node 0"),
        ("feature", 5000, "node 0 looks at feature 5000 of 676"),
    ):
        estimator = forest()
        tree = estimator.estimators_[1].tree_
        state = tree.__getstate__()
        state["nodes"] = state["nodes"].copy()
        state["nodes"][field][0] = value
        tree.__setstate__(state)
        skops.io.dump(estimator, tmp_path / "forest.skops")
        with pytest.raises(ConversionError, match=f"holds a decision tree that was tampered with or damaged: {message}"):
            load_skops(tmp_path / "forest.skops")


def test_damaged_and_wrong_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with pytest.raises(ConversionError, match=r"model\.skops cannot be read \(No such file or directory\)"):
        load_skops(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ConversionError, match=r"is no \.skops file: expected a zip archive, got b'not '"):
        load_skops(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something.txt", "else")
    with pytest.raises(ConversionError, match="is a zip archive, but not one that skops can read: KeyError"):
        load_skops(path)
    skops.io.dump({"weights": ROWS}, path)
    with pytest.raises(ConversionError, match="holds a dict: expected an estimator of scikit-learn"):
        load_skops(path)
    skops.io.dump(forest(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConversionError, match=r"is no \.skops file"):
        load_skops(path)
    path.write_bytes(rewritten_arrays(content))
    with pytest.raises(ConversionError, match="is a zip archive, but not one that skops can read: "):
        load_skops(path)


def rewritten_arrays(content: bytes) -> bytes:
    """A .skops file whose arrays are cut short."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) if name == "schema.json" else old.read(name)[:100])
    return buffer.getvalue()


def test_another_version_of_scikit_learn_shows_in_the_evidence(tmp_path: Path) -> None:
    skops.io.dump(forest(), tmp_path / "now.skops")
    old = rewritten_text(tmp_path / "now.skops", "sklearn_version")
    (tmp_path / "old.skops").write_bytes(old)
    assert SklearnOriginal.from_file(tmp_path / "old.skops", stage()).framework.endswith("(the file was written by 0.99.0)")
    assert "written by" not in SklearnOriginal.from_file(tmp_path / "now.skops", stage()).framework


def rewritten_text(path: Path, key: str) -> bytes:
    def change(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: {**value, "content": '"0.99.0"'} if name == f"_{key}" else change(value) for name, value in part.items()}
        return [change(each) for each in part] if isinstance(part, list) else part

    return rewritten(path, change)
