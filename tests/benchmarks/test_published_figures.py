from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.published_figures import load_published
from edge.errors import ConfigError


def test_every_figure_says_where_it_is_from_and_why_it_is_not_ours() -> None:
    figures = load_published()
    assert {"py-feat", "OpenFace", "LibreFace", "Savant", "jetson-inference", "DeepStream"} <= {re.split(r"[ ,]", figure.name)[0] for figure in figures}
    assert len({figure.name for figure in figures}) == len(figures)
    for figure in figures:
        assert figure.source.startswith("https://")
        # a page on GitHub changes: the figure was read at one commit
        assert "github.com" not in figure.source or re.search(r"/blob/[0-9a-f]{40}/", figure.source)
        assert figure.unit in ("frames/s", "ms")
        assert figure.value is None or figure.value > 0
        assert figure.why_not_run
        assert figure.line().startswith("published, not run here: ")
    assert "no figure found on Jetson" in next(figure.line() for figure in figures if figure.value is None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[figure]]\nname = "toy"\n', "missing required field"),
        ('[[figure]]\nname = "toy"\nratio = 2.0\n', "unknown field `ratio`"),
        ("figures", "expected published figures with name, what, value, unit, on, source and why_not_run in"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "published.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_published(path)
    with pytest.raises(ConfigError, match="No such file"):
        load_published(tmp_path / "none.toml")
