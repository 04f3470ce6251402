"""What every workflow keeps: whose code may run on our own machines, with which rights, of which version, for how long."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Workflow = dict[str, Any]

# Source: GitHub's documentation, "Events that trigger workflows": they run with the base repository's rights, whoever caused them.
TOO_POWERFUL = {"pull_request_target", "workflow_run", "issue_comment", "issues", "discussion", "discussion_comment"}
MAX_TIMEOUT_MIN = 240
_HOSTED = re.compile(r"(ubuntu|windows|macos)-[\w.-]+")
_PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def workflows(root: Path) -> dict[str, Path]:
    """Every workflow by its path below the root."""
    return {path.relative_to(root).as_posix(): path for path in sorted((root / ".github/workflows").glob("*.y*ml"))}


def read(path: Path) -> Workflow:
    """A workflow with all scalars as text: YAML 1.1 would read the key `on` as a truth value."""
    workflow: Workflow = yaml.load(path.read_text(), yaml.BaseLoader)
    return workflow


def unpinned_actions(root: Path) -> list[str]:
    """Actions that are not named by a commit's full hash, with the version in a comment: tags can be moved to other code."""
    return [
        f"{name}:{number} {line.strip()} is not pinned"
        for name, path in workflows(root).items()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*(- )?uses:", line) and not _PINNED.search(line)
    ]


def missing_timeouts(root: Path) -> list[str]:
    """Jobs without a limit of time, or with one of more than four hours: GitHub's own is six."""
    return [
        f"{name}: job {job} has the limit {body.get('timeout-minutes')}, not 1 to {MAX_TIMEOUT_MIN} minutes"
        for name, job, body in _jobs(root)
        if not (body.get("timeout-minutes", "").isdecimal() and 1 <= int(body["timeout-minutes"]) <= MAX_TIMEOUT_MIN)
    ]


def excessive_rights(root: Path) -> list[str]:
    """Workflows that do not say what their token may, or let it write; events with too many rights; and secrets, which none of ours needs."""
    problems = []
    for name, path in workflows(root).items():
        workflow = read(path)
        scopes = {"the workflow": workflow.get("permissions"), **{job: body["permissions"] for job, body in workflow["jobs"].items() if "permissions" in body}}
        for where, rights in scopes.items():
            if not isinstance(rights, Mapping) or set(rights.values()) - {"read", "none"}:
                problems.append(f"{name}: {where} has the rights {rights}, expected a list of those to read")
        problems += [f"{name} runs on {event}" for event in sorted(TOO_POWERFUL & set(events(workflow)))]
        if re.search(r"\bsecrets\b\s*[.:\[]", path.read_text()):
            problems.append(f"{name} names secrets")
    return problems


def open_to_forks(root: Path) -> list[str]:
    """Jobs on runners of our own that a fork's pull request would start, or that its label alone does not.

    The condition of the job is evaluated as GitHub does; a job whose runner is not known is taken for one on our own.
    """
    problems = []
    for name, job, body in _jobs(root):
        if all(_HOSTED.fullmatch(label) for label in runner_labels(body)):
            continue
        workflow = read(root / name)
        others = sorted(set(events(workflow)) - {"schedule", "workflow_dispatch", "pull_request"})
        problems += [f"{name}: job {job} runs on our own machine at the event {event}" for event in others]
        if "pull_request" in events(workflow):
            problems += [f"{name}: job {job} runs on our own machine for {who}" for who, context in STRANGERS.items() if starts(body, context)]
            if not isinstance(workflow["on"], dict) or workflow["on"]["pull_request"].get("types") != ["labeled"]:
                problems.append(f"{name}: job {job} runs commits on our own machine that came after the label")
    return problems


def events(workflow: Workflow) -> list[str]:
    """Names of the events that start it."""
    on = workflow["on"]
    return [on] if isinstance(on, str) else list(on)


def runner_labels(job: Mapping[str, Any]) -> list[str]:
    """The labels of its runners, those of a matrix one by one; what cannot be told stays as it is."""
    labels = job.get("runs-on", "a workflow that it calls")
    if isinstance(labels, list):
        return labels
    named = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", labels)
    return list(job["strategy"]["matrix"][named[1]]) if named else [labels]


def starts(job: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    """Whether the job's `if` holds; contexts that are not given are empty, as GitHub has it.

    Source: GitHub's documentation, "Evaluate expressions in workflows and actions".
    """
    text = job.get("if", "true")
    pieces = re.findall(r"'[^']*'|&&|\|\||!=|==|!|[\w.]+|[(),\[\]]", text)
    assert "".join(pieces) == re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", text), f"an expression that is not understood: {text}"
    operators = {"&&": " and ", "||": " or ", "!": " not "}
    functions = {"contains", "fromJSON", "cancelled"}
    python = [operators.get(piece, piece if piece in functions or not re.match(r"[A-Za-z]", piece) else f"look_up({piece!r})") for piece in pieces]

    def look_up(dotted: str) -> Any:
        return {"true": True, "false": False}.get(dotted, context.get(dotted, ""))

    names = {"look_up": look_up, "contains": lambda where, what: what in where, "fromJSON": json.loads, "cancelled": lambda: False}
    return bool(eval("".join(python), {"__builtins__": {}}, names))


def pull_request(*, label: str, branch_of: str) -> dict[str, Any]:
    """The contexts of a pull request that was just labelled."""
    return {
        "vars.RUNNERS": '["gpu", "jetson"]',
        "github.event_name": "pull_request",
        "github.event.action": "labeled",
        "github.event.label.name": label,
        "github.event.pull_request.head.repo.full_name": branch_of,
        "github.repository": "we/ours",
        "github.ref_name": "7/merge",
    }


STRANGERS = {
    "a fork with our label": pull_request(label="gpu", branch_of="they/ours"),
    "a fork with another label": pull_request(label="bug", branch_of="they/ours"),
    "a fork that is gone": pull_request(label="gpu", branch_of=""),
    "a branch of ours with another label": pull_request(label="bug", branch_of="we/ours"),
}


def _jobs(root: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, path in workflows(root).items():
        yield from ((name, job, body) for job, body in read(path)["jobs"].items())
