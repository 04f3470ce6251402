from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers_command import add_parser, command
from edge.errors import ConfigError, SourceNotFound


def _parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(), argparse.ArgumentParser(add_help=False))
    return parser.parse_args(["peers", *arguments])


def test_what_cannot_be_is_refused_before_anything_runs(clip: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--rounds: expected at least 2 \(one round has no spread\), got 1"):
        command(_parsed("--rounds", "1"))
    with pytest.raises(ConfigError, match="--yunet: no file at"):
        command(_parsed("--yunet", str(tmp_path / "none.onnx"), "--clip", str(clip("single_face.mp4"))))
    with pytest.raises(SourceNotFound, match="no clip at"):
        command(_parsed("--clip", str(tmp_path / "none.mp4")))


def test_programs_and_parts_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert _parsed("--peer", "human", "--peer", "fer").peer == ["human", "fer"]
    for refused in (("--peer", "edge"), ("--clip-only", "--stages-only")):
        with pytest.raises(SystemExit):
            _parsed(*refused)
    said = capsys.readouterr().err
    assert "invalid choice: 'edge'" in said
    assert "not allowed with argument --clip-only" in said
