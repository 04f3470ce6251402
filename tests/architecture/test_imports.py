"""The import graph is the architecture. Each rule holds on the tree, and is shown to fail on a toy that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import import_rules

ROOT = Path(__file__).resolve().parents[2]
Rule = Callable[[Path], list[str]]

BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (import_rules.relative_imports, {"edge/a.py": "from . import frame\n"}, "edge/a.py:1 imports relatively"),
    (import_rules.upward_imports, {"edge/a.py": "def f():\n    import converters\n"}, "edge/a.py:2 imports converters"),
    (import_rules.upward_imports, {"calibration/a.py": "from converters import parity\n"}, "calibration/a.py:1 imports converters"),
    (import_rules.upward_imports, {"benchmarks/a.py": "from deploy.bundle import files\n"}, "benchmarks/a.py:1 imports deploy.bundle"),
    (import_rules.upward_imports, {"edge/a.py": "from tests import toy\n"}, "edge/a.py:1 imports tests"),
    (import_rules.upward_layers, {"edge/novelty.py": ""}, "edge/novelty.py has no layer"),
    (
        import_rules.upward_layers,
        {"edge/crop.py": "from edge.pipeline import Pipeline\n", "edge/pipeline.py": ""},
        "edge/crop.py:1 (steps) imports edge.pipeline (path)",
    ),
    (
        import_rules.upward_layers,
        {"edge/capture/a.py": "def f():\n    from edge import output\n", "edge/output/__init__.py": ""},
        "edge/capture/a.py:2 (capture) imports edge.output (output)",
    ),
    (
        import_rules.import_cycles,
        {"edge/a.py": "from edge import b\n", "edge/b.py": "import edge.c\n", "edge/c.py": "from edge.a import x\n"},
        "edge.a imports itself through edge.b",
    ),
    (import_rules.strangers, {"edge/view/window.py": "def f():\n    from gi.repository import Gst\n"}, "edge/view/window.py:2 imports gi"),
    (import_rules.strangers, {"converters/parity.py": "import torch.nn\nimport torch\n"}, "converters/parity.py:2 imports torch"),
    (
        import_rules.eager_homes,
        {"edge/a.py": "from edge.engine import ort\n", "edge/engine/ort.py": "import onnxruntime\n"},
        "edge/a.py:1 imports edge.engine.ort on import",
    ),
    (import_rules.shadowing_names, {"benchmarks/statistics.py": ""}, "benchmarks/statistics.py has a name that is taken"),
    (import_rules.shadowing_names, {"edge/onnx.py": ""}, "edge/onnx.py has a name that is taken"),
    (import_rules.shadowing_names, {"edge/view/utils.py": ""}, "edge/view/utils.py has a name that is taken or says nothing"),
]
RULES = sorted({rule for rule, *_ in BROKEN}, key=lambda rule: rule.__name__)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "files", "problem"), BROKEN, ids=[f"{rule.__name__}-{index}" for index, (rule, *_) in enumerate(BROKEN)])
def test_a_tree_that_breaks_the_rule_is_named(rule: Rule, files: dict[str, str], problem: str, tmp_path: Path) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert any(found.startswith(problem) for found in rule(tmp_path)), rule(tmp_path)


def test_lazy_and_type_checking_imports_are_told_from_eager_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("import x\nif TYPE_CHECKING:\n    import y\ndef f():\n    import z\ntry:\n    import w\nexcept ImportError:\n    pass\n")
    assert {found.name: found.eager for found in import_rules.imports(path)} == {"x": True, "y": False, "z": False, "w": True}
