"""Who may import whom. A new arrow needs an edit here and a line in ARCHITECTURE.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Top-level package -> the others that it may import. Only `edge` goes into the wheel.
PACKAGES: dict[str, set[str]] = {
    "edge": set(),
    "calibration": {"edge"},
    "converters": {"edge", "calibration"},
    "benchmarks": {"edge", "calibration", "converters"},
    "deploy": {"edge"},
}

# Inside edge: group -> (its modules, the groups that it may import beside itself). `edge.engine` stands for the whole subpackage.
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "facts": ({"edge.errors", "edge.clock", "edge.frame", "edge.heap", "edge.result"}, set()),
    "package": ({"edge.package", "edge.stage", "edge.stage_rules"}, {"facts"}),
    "gst": ({"edge.gst"}, {"facts"}),
    "engine": ({"edge.engine"}, {"facts", "package"}),
    "steps": (
        {
            *("edge.activation", "edge.affect", "edge.crop", "edge.detect", "edge.estimate", "edge.face", "edge.pose", "edge.quality", "edge.ring"),
            *("edge.smooth", "edge.spectrogram", "edge.track"),
        },
        {"facts", "package", "engine"},
    ),
    "capture": ({"edge.capture"}, {"facts", "gst"}),
    "output": ({"edge.output"}, {"facts", "package"}),
    "config": ({"edge.config"}, {"facts", "engine", "steps", "output"}),
    "path": ({"edge.analyzer", "edge.pipeline"}, {"facts", "package", "engine", "steps", "capture", "config"}),
    "view": ({"edge.view"}, {"facts", "package", "gst", "output", "config", "path"}),
    "commands": ({"edge", "edge.cli", "edge.doctor"}, {"facts", "package", "gst", "engine", "steps", "capture", "output", "config", "path", "view"}),
}

# Library -> the only files that may import it. Outside edge a folder stands for its files.
HOMES: dict[str, set[str]] = {
    "gi": {"edge/gst.py"},
    "onnxruntime": {
        *("edge/engine/ort.py", "converters/parity.py", "converters/real_inputs.py", "converters/from_torch/", "converters/quantization/"),
        "benchmarks/scaling/peaks.py",  # what the machine could do at most, without our engine
    },
    "onnx": {
        *(
            "edge/engine/ort.py",
            "edge/engine/cpu_channels.py",
            "edge/engine/cpu_int8.py",
            "edge/engine/cpu_rewrites.py",
            "edge/engine/fp16.py",
            "edge/engine/int8_weights.py",
        ),
        *("edge/engine/trt/build.py", "edge/engine/trt/graph_check.py", "converters/", "benchmarks/scaling/networks.py", "benchmarks/scaling/peaks.py"),
    },
    "ai_edge_litert": {"converters/", "benchmarks/networks.py"},
    # Its types alone: the library, whichever it is, is imported by `library.py`.
    "tensorrt": {"edge/engine/trt/build.py", "edge/engine/trt/messages.py", "edge/engine/trt/trt_engine.py"},
    "cuda": {"edge/engine/trt/cuda_bindings_device.py"},
    "pycuda": {"edge/engine/trt/pycuda_device.py"},
    # What a network comes from is the business of its converter, of those who define networks in it, and of those who train them.
    "torch": {"converters/from_torch/", "converters/systems/torch_networks/", "converters/from_keras/keras_backend.py", "converters/training/affect/"},
    "keras": {"converters/from_keras/keras_backend.py"},
    "h5py": {"converters/from_keras/"},
    "safetensors": {"converters/from_torch/", "converters/from_sklearn/"},
    "sklearn": {"converters/from_sklearn/", "converters/training/"},
    "skl2onnx": {"converters/from_sklearn/"},
    "skops": {"converters/from_sklearn/", "converters/training/"},
    "hmmlearn": {"converters/from_sklearn/", "converters/training/hmm.py"},
    "dlib": {"converters/from_dlib/dlib_run.py"},
    "imblearn": {"converters/training/embedding_mlp.py"},
    "matplotlib": {
        "converters/training/report.py",
        "converters/training/affect/comparison_report.py",
        "converters/quantization/plot.py",
        "benchmarks/accuracy/plots.py",
        "benchmarks/limits/plots.py",
        "benchmarks/report/plots.py",
    },
    "tensorflow": {"converters/from_keras/"},
}


@dataclass(frozen=True)
class Import:
    """One name that a file imports: dotted, absolute. `eager` when importing the file imports it too."""

    name: str
    line: int
    eager: bool


def python_files(root: Path, *folders: str) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every Python file of the folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, in function bodies and type-checking blocks too; `from a import b` counts as `a` and as `a.b`."""
    yield from _imports_below(ast.parse(path.read_text()), eager=True)


def _imports_below(node: ast.AST, *, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, eager) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # Relative imports are refused by `relative_imports`, so that every name here is absolute.
            yield Import(child.module or "", child.lineno, eager)
            yield from (Import(f"{child.module}.{alias.name}", child.lineno, eager) for alias in child.names)
        else:
            lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            yield from _imports_below(child, eager=eager and not lazy)


def relative_imports(root: Path) -> list[str]:
    """Places that import by dots: they read differently from every folder."""
    return [
        f"{name}:{node.lineno} imports relatively"
        for name, path in python_files(root, *PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]


def upward_imports(root: Path) -> list[str]:
    """Imports between top-level packages that `PACKAGES` does not allow; nothing may import tests."""
    return [
        f"{name}:{found.line} imports {found.name}"
        for package in PACKAGES
        for name, path in python_files(root, package)
        for found in imports(path)
        if found.name.split(".")[0] in (PACKAGES.keys() | {"tests"}) - {package} - PACKAGES[package]
    ]


def upward_layers(root: Path) -> list[str]:
    """Imports inside edge that `LAYERS` does not allow, and modules without a place in it."""
    problems = []
    for name, path in python_files(root, "edge"):
        group = _layer(_module(name))
        if group is None:
            problems.append(f"{name} has no layer: give it one in LAYERS and in ARCHITECTURE.md")
            continue
        allowed = LAYERS[group][1] | {group}
        for found in imports(path):
            target = _layer(found.name) if _is_module(root, found.name) and found.name != "edge" else None
            if target is not None and target not in allowed:
                problems.append(f"{name}:{found.line} ({group}) imports {found.name} ({target})")
    return problems


def import_cycles(root: Path) -> list[str]:
    """Modules of edge that import themselves through others while they are being imported."""
    graph = {
        _module(name): {found.name for found in imports(path) if found.eager and found.name != "edge" and _is_module(root, found.name)}
        for name, path in python_files(root, "edge")
    }
    problems = []
    for start in graph:
        seen: set[str] = set()
        queue = list(graph[start])
        while queue:
            module = queue.pop()
            if module not in seen:
                seen.add(module)
                queue.extend(graph.get(module, ()))
        if start in seen:
            problems.append(f"{start} imports itself through {', '.join(sorted(seen & graph[start]))}")
    return problems


def strangers(root: Path) -> list[str]:
    """Files that import a library whose home is elsewhere."""
    return [
        f"{name}:{found.line} imports {found.name}"
        for name, path in python_files(root, *PACKAGES)
        for found in imports(path)
        if (library := found.name.split(".")[0]) in HOMES and not _at_home(name, HOMES[library])
    ]


def eager_homes(root: Path) -> list[str]:
    """Files of edge that, while they are imported, import a file that then imports a library of `HOMES`: bare machines would lose them too."""
    homes = {_module(name) for name, path in python_files(root, "edge") if any(found.eager and found.name.split(".")[0] in HOMES for found in imports(path))}
    return [
        f"{name}:{found.line} imports {found.name} on import"
        for name, path in python_files(root, "edge")
        if _module(name) not in homes
        for found in imports(path)
        if found.eager and found.name in homes
    ]


def shadowing_names(root: Path) -> list[str]:
    """Modules named after the standard library, after a dependency, or after nothing in particular."""
    dependencies = HOMES.keys() | {"numpy", "cv2", "msgspec", "pytest", "tomli", "tomli_w", "jsonschema"}
    vague = {
        "base",
        "common",
        "core",
        "data",
        "handler",
        "helper",
        "helpers",
        "info",
        "manager",
        "misc",
        "process",
        "shared",
        "stuff",
        "tools",
        "util",
        "utils",
    }
    taken = set(sys.stdlib_module_names) | dependencies | vague
    return [f"{name} has a name that is taken or says nothing" for name, path in python_files(root, *PACKAGES) if path.stem in taken]


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_module(root: Path, name: str) -> bool:
    path = root / name.replace(".", "/")
    return name.split(".")[0] == "edge" and (path.with_suffix(".py").exists() or path.is_dir())


def _layer(module: str) -> str | None:
    for group, (members, _) in LAYERS.items():
        if module in members or any(module.startswith(f"{member}.") for member in members - {"edge"}):
            return group
    return None


def _at_home(name: str, homes: set[str]) -> bool:
    return name in homes or any(home.endswith("/") and name.startswith(home) for home in homes)
