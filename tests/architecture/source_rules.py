"""How a file may look: length, docstrings that stay true, and nothing that belongs to one machine or to somebody else."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.import_rules import PACKAGES, python_files

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_TRACKED_BYTES = 500_000
TRAINED = "converters/trained/"
MAX_TRAINED_BYTES = 10_000_000

# Weights, pictures and clips are pulled by their users; none is ours to hand on.
NEVER_TRACKED = {
    ".onnx",
    ".tflite",
    ".task",
    ".h5",
    ".pt",
    ".pth",
    ".engine",
    ".plan",
    ".mp4",
    ".mov",
    ".avi",
    ".mkv",
    ".jpg",
    ".jpeg",
    ".npz",
    ".npy",
    ".whl",
    ".pkl",
}
# Put together here, so that this file does not hold what it looks for.
MACHINE_WORDS = re.compile(r"(?<![\w.~$}])/(?:" + "work|root|home/[a-z]+" + r")/|" + r"\.py" + r"env/|fire" + "cracker")

_SHAPE = re.compile(r"\b(?:float32|float64|uint8|int32|int64|int8|bool)\[")
_ARRAY = re.compile(r"^(?:np\.ndarray|NDArray|Pixels|Array|Affine|Points)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_files(root: Path) -> list[str]:
    """Python files past the limit."""
    return [f"{name} has {n} lines" for name, path in _all_python(root) if (n := len(path.read_text().splitlines())) > MAX_FILE_LINES]


def long_functions(root: Path) -> list[str]:
    """Functions past the limit; a docstring costs nothing."""
    return [
        f"{name}:{node.lineno} {node.name} has {n} lines"
        for name, path in _all_python(root)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function) and (n := _lines_without_docstring(node)) > MAX_FUNCTION_LINES
    ]


def unlisted_errors(root: Path) -> list[str]:
    """Public functions of edge that raise an error which their docstring does not list under `Raises:`."""
    return [
        f"{where} raises {error}, which its docstring does not list"
        for where, function, docstring in _public_functions(root)
        for error in sorted(_raised(function))
        if not re.search(rf"^\s*{error}: ", docstring.partition("Raises:")[2], re.MULTILINE)
    ]


def shapeless_arrays(root: Path) -> list[str]:
    """Array parameters and results of edge whose docstring shows no `dtype[shape]`."""
    problems = []
    for where, function, docstring in _public_functions(root):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for argument in arguments:
            entry = re.search(rf"^\s*{argument.arg}: .*(?:\n\s{{8,}}.*)*", docstring, re.MULTILINE)
            if _is_array(argument.annotation) and not _SHAPE.search(entry.group() if entry else docstring):
                problems.append(f"{where}: no dtype[shape] for its argument {argument.arg}")
        if _is_array(function.returns) and not _SHAPE.search(docstring):
            problems.append(f"{where}: no dtype[shape] for what it returns")
    return problems


def unsorted_exports(root: Path) -> list[str]:
    """`__all__` lists that are not sorted, or that name something twice."""
    problems = []
    for name, path in python_files(root, "edge"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
                if names != sorted(set(names)):
                    problems.append(f"{name}: __all__ is not sorted: {names}")
    return problems


def machine_words(root: Path) -> list[str]:
    """Tracked text that only makes sense on the machine where it was written."""
    problems = []
    for name in tracked_files(root):
        try:
            lines = (root / name).read_text().splitlines()
        except UnicodeDecodeError:
            continue
        problems += [f"{name}:{number} says {match.group()}" for number, line in enumerate(lines, 1) if (match := MACHINE_WORDS.search(line))]
    return problems


def foreign_files(root: Path) -> list[str]:
    """Tracked weights, media and large files. What we trained ourselves, with its card beside it, may stay while all of it is small."""
    files = tracked_files(root)
    ours = [name for name in files if name.startswith(TRAINED) and (root / name).with_name("card.json").is_file()]
    size = sum((root / name).stat().st_size for name in ours)
    return [
        f"{name} must not be tracked ({(root / name).stat().st_size} bytes)"
        for name in files
        if name not in ours and (Path(name).suffix in NEVER_TRACKED or (root / name).stat().st_size > MAX_TRACKED_BYTES)
    ] + [f"{TRAINED} holds {size} bytes, more than {MAX_TRAINED_BYTES}"] * (size > MAX_TRAINED_BYTES)


def tracked_files(root: Path) -> list[str]:
    """Files that git has or would take."""
    # A container's root reads a checkout that another user owns; git refuses that unless it is told.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def _all_python(root: Path) -> Iterator[tuple[str, Path]]:
    return python_files(root, *PACKAGES, "tests")


def _lines_without_docstring(function: Function) -> int:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _public_functions(root: Path) -> Iterator[tuple[str, Function, str]]:
    """Where, node and docstring of every public function and method of edge; a constructor is documented by its class."""
    for name, path in python_files(root, "edge"):
        yield from _public_below(ast.parse(path.read_text()), name, "")


def _public_below(node: ast.Module | ast.ClassDef, where: str, class_docstring: str) -> Iterator[tuple[str, Function, str]]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public_below(child, f"{where}:{child.name}", ast.get_docstring(child, clean=False) or "")
        elif isinstance(child, Function) and (not child.name.startswith("_") or child.name == "__init__"):
            docstring = class_docstring if child.name == "__init__" else ast.get_docstring(child, clean=False) or ""
            yield f"{where}:{child.name}", child, docstring


def _raised(node: ast.AST) -> set[str]:
    """Names of the error classes in the `raise` statements of a body, without those of functions inside it."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = ast.unparse(child.exc.func if isinstance(child.exc, ast.Call) else child.exc).split(".")[-1]
            # A lower-case name is a caught error that goes on; an AssertionError is a bug, no part of what users may rely on.
            if error[0].isupper() and error != "AssertionError":
                found.add(error)
        if isinstance(child, ast.Try):
            found |= _escaping(child)
        elif not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            found |= _raised(child)
    return found


def _escaping(node: ast.Try) -> set[str]:
    """What a `try` raises, less what its own handlers catch by name."""
    caught = {name.split(".")[-1] for handler in node.handlers if handler.type for name in re.findall(r"[\w.]+", ast.unparse(handler.type))}
    body = set() if caught & {"EdgeError", "Exception"} else _raised(ast.Module(node.body, [])) - caught
    return body.union(*(_raised(ast.Module(part, [])) for part in (node.orelse, node.finalbody, *(handler.body for handler in node.handlers))))


def _is_array(annotation: ast.expr | None) -> bool:
    return annotation is not None and bool(_ARRAY.match(ast.unparse(annotation).strip("'\"")))
