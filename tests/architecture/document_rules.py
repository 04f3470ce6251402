"""What documents say about the tree and the commands.

In a ```bash block every command must exist, with its target, subcommand and flags. A ```console block is a session: each line that begins with
`$ ` is run, in an empty folder with the environment's commands on PATH, must succeed, and must print the lines that follow it (`...` stands for anything).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.architecture.import_rules import python_files

# Folders whose files ARCHITECTURE.md draws one by one.
DRAWN = ("edge", "calibration", "converters", "benchmarks")
OURS = ("edge-run", "edge-doctor")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language and its lines."""

    where: str
    language: str
    lines: tuple[str, ...]


def documents(root: Path) -> list[Path]:
    """Every document that users read."""
    return sorted({*root.glob("*.md"), *root.glob("converters/*.md"), *root.glob("benchmarks/*.md")})


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        line = path.read_text()[: match.start()].count("\n") + 1
        yield Block(f"{path.name}:{line}", match.group(1), tuple(match.group(2).splitlines()))


def tree_differences(root: Path) -> list[str]:
    """Files that ARCHITECTURE.md's tree lacks, and paths in it that do not exist. An empty `__init__.py` need not be drawn."""
    lines = [line for block in blocks(root / "ARCHITECTURE.md") for line in block.lines]
    drawn = {line.split()[0] for line in lines if line.startswith(tuple(f"{folder}/" for folder in DRAWN))}
    real = {name for name, path in python_files(root, *DRAWN) if path.name != "__init__.py" or path.read_text().strip()}
    return [f"ARCHITECTURE.md does not draw {name}" for name in sorted(real - drawn)] + [
        f"ARCHITECTURE.md draws {name}, which does not exist" for name in sorted(drawn) if not (root / name).exists()
    ]


def version_differences(root: Path) -> list[str]:
    """The changelog's newest version against pyproject's."""
    version = msgspec.toml.decode((root / "pyproject.toml").read_bytes())["project"]["version"]
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if newest and newest.group(1) == version:
        return []
    return [f"pyproject.toml says {version}, CHANGELOG.md begins with {newest.group(1) if newest else 'no version'}"]


def hardware_run_problems(root: Path) -> list[str]:
    """The README's line on the last run on a GPU: `never`, or a date, a device and a commit that the history has."""
    lines = re.findall(r"^Last hardware run: (.*)$", (root / "README.md").read_text(), re.MULTILINE)
    if len(lines) != 1:
        return [f"README.md: expected one line 'Last hardware run: ...', got {len(lines)}"]
    if lines[0] == "never.":
        return []
    found = re.fullmatch(r"\d{4}-\d{2}-\d{2}, [^,]+, commit ([0-9a-f]{7,40})\.", lines[0])
    if found is None:
        return [f"README.md: expected 'never.' or 'YYYY-MM-DD, DEVICE, commit HASH.' as the last hardware run, got '{lines[0]}'"]
    there = subprocess.run(["git", "cat-file", "-e", f"{found[1]}^{{commit}}"], cwd=root, capture_output=True, check=False).returncode == 0
    return [] if there else [f"README.md: the last hardware run names commit {found[1]}, which the history does not have"]


def unparsable_blocks(root: Path) -> list[str]:
    """```bash blocks that bash cannot read."""
    problems = []
    for block in _blocks_of(root, "bash"):
        done = subprocess.run(["bash", "-n"], input="\n".join(block.lines), capture_output=True, text=True)
        if done.returncode != 0:
            problems.append(f"{block.where}: {done.stderr.strip()}")
    return problems


def unknown_commands(root: Path, help_of: Mapping[str, str]) -> list[str]:
    """Make targets, tools and flags in ```bash blocks that do not exist.

    Args:
        root: The checkout.
        help_of: What `--help` prints, by command of `OURS`.
    """
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    problems = []
    for block in _blocks_of(root, "bash"):
        for words in _commands(block):
            name = Path(words[0]).name
            if name == "make":
                wrong = [word for word in words[1:] if "=" not in word and not word.startswith("-") and word not in targets]
            elif name in OURS:
                flags = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
                wrong = [flag for flag in sorted(flags) if not re.search(rf"(?<![\w-]){flag}(?![\w-])", help_of[name])]
            elif name.startswith("python") and words[1:2] == ["-m"] and words[2] in {"calibration", "deploy", *DRAWN}:
                wrong = [] if (root / words[2] / "__main__.py").exists() else [words[2]]
            else:
                continue
            problems += [f"{block.where}: {name} has no {word}" for word in wrong]
    return problems


def session(block: Block) -> list[tuple[str, list[str]]]:
    """Commands of a ```console block with the lines that each must print."""
    steps: list[tuple[str, list[str]]] = []
    for line in block.lines:
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
        else:
            raise ValueError(f"{block.where}: a console block begins with '$ ', got {line!r}")
    return steps


def failed_session(block: Block, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Run a ```console block and return what went otherwise than it says."""
    problems = []
    for command, expected in session(block):
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
        printed = done.stdout + done.stderr
        pattern = r"\s*".join(re.escape(line.strip()).replace(r"\.\.\.", ".*") for line in expected)
        if done.returncode != 0:
            problems.append(f"{block.where}: '{command}' ended with {done.returncode}: {printed[-2000:]}")
        elif expected and not re.search(pattern, printed, re.DOTALL):
            problems.append(f"{block.where}: '{command}' printed {printed[-2000:]!r}")
    return problems


def _blocks_of(root: Path, language: str) -> Iterator[Block]:
    return (block for path in documents(root) for block in blocks(path) if block.language == language)


def _commands(block: Block) -> Iterator[list[str]]:
    """Words of each simple command; comments and what follows a pipe or `&&` apart."""
    text = "\n".join(block.lines).replace("\\\n", " ")
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                while words and re.fullmatch(r"\w+=.*|sudo|env", words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            else:
                words.append(word)
