"""Files that can be read in one sitting, docstrings that are true, and nothing in the tree that is not ours."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import source_rules

ROOT = Path(__file__).resolve().parents[2]
Rule = Callable[[Path], list[str]]

_RAISES = 'def f(x):\n    """Do it.\n\n    Raises:\n        ConfigError: Always.\n    """\n'
_ARGS = 'def f(image: Pixels) -> Pixels:\n    """Turn.\n\n    Args:\n        image: {}\n\n    Returns:\n        {}\n    """\n'

BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (source_rules.long_files, {"edge/a.py": "x = 1\n" * 401}, "edge/a.py has 401 lines"),
    (source_rules.long_functions, {"tests/a.py": "def f():\n" + "    x = 1\n" * 60}, "tests/a.py:1 f has 61 lines"),
    (source_rules.unlisted_errors, {"edge/a.py": _RAISES + "    raise SpecMismatch('no')\n"}, "edge/a.py:f raises SpecMismatch"),
    (
        source_rules.unlisted_errors,
        {"edge/a.py": 'class A:\n    """A."""\n\n    def __init__(self):\n        if 1:\n            raise errors.ConfigError("no")\n'},
        "edge/a.py:A:__init__ raises ConfigError",
    ),
    (source_rules.shapeless_arrays, {"edge/a.py": _ARGS.format("A picture.", "uint8[H, W, 3].")}, "edge/a.py:f: no dtype[shape] for its argument image"),
    (source_rules.shapeless_arrays, {"edge/a.py": 'def f() -> NDArray[np.float32]:\n    """Turn."""\n'}, "edge/a.py:f: no dtype[shape] for what it returns"),
    (source_rules.unsorted_exports, {"edge/__init__.py": "__all__ = ['b', 'a']\n"}, "edge/__init__.py: __all__ is not sorted"),
    (source_rules.machine_words, {"README.md": "see " + "/wo" + "rk/notes\n"}, "README.md:1 says"),
    (source_rules.machine_words, {"a.sh": "cd /ro" + "ot/x\n"}, "a.sh:1 says"),
    (source_rules.machine_words, {"a.sh": "cd /ho" + "me/somebody/x\n"}, "a.sh:1 says"),
    (source_rules.foreign_files, {"models/a.onnx": "x"}, "models/a.onnx must not be tracked"),
    (source_rules.foreign_files, {"a.txt": "x" * 500_001}, "a.txt must not be tracked (500001 bytes)"),
    (source_rules.foreign_files, {"converters/trained/a/net.skops": "x" * 500_001}, "converters/trained/a/net.skops must not be tracked (500001 bytes)"),
    (
        source_rules.foreign_files,
        {"converters/trained/a/net.skops": "x" * 10_000_000, "converters/trained/a/card.json": "{}"},
        "converters/trained/ holds 10000002 bytes, more than 10000000",
    ),
]
SOUND: list[tuple[Rule, dict[str, str]]] = [
    (source_rules.long_files, {"edge/a.py": "x = 1\n" * 400}),
    (source_rules.long_functions, {"edge/a.py": 'def f():\n    """Long.\n' + "\n    text\n" * 60 + '    """\n' + "    x = 1\n" * 58}),
    (
        source_rules.unlisted_errors,
        {"edge/a.py": _RAISES + "    def inner():\n        raise KeyError\n    try:\n        raise ConfigError\n    except E as e:\n        raise e\n"},
    ),
    (source_rules.shapeless_arrays, {"edge/a.py": _ARGS.format("uint8[H, W, 3], RGB.", "uint8[W, H, 3], a copy.")}),
    (source_rules.foreign_files, {"converters/trained/a/net.skops": "x" * 500_001, "converters/trained/a/card.json": "{}"}),
    (source_rules.machine_words, {"README.md": "https://example.org/work/x $HOME/work/ ~/root/ and ../work/\n"}),
]
RULES = sorted({rule for rule, *_ in BROKEN}, key=lambda rule: rule.__name__)


def _write(root: Path, files: dict[str, str]) -> None:
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "files", "problem"), BROKEN, ids=[f"{rule.__name__}-{index}" for index, (rule, *_) in enumerate(BROKEN)])
def test_a_tree_that_breaks_the_rule_is_named(rule: Rule, files: dict[str, str], problem: str, tmp_path: Path) -> None:
    _write(tmp_path, files)
    assert any(found.startswith(problem) for found in rule(tmp_path)), rule(tmp_path)


@pytest.mark.parametrize(("rule", "files"), SOUND, ids=[rule.__name__ for rule, _ in SOUND])
def test_a_tree_that_keeps_the_rule_is_left_alone(rule: Rule, files: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path, files)
    assert rule(tmp_path) == []
