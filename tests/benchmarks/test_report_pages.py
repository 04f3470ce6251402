"""What stands in a report: as a page and as Markdown, with everything that a doubting reader asks for."""

from __future__ import annotations

import argparse
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from benchmarks.report.command import add_parser, command
from benchmarks.report.contents import make_document
from benchmarks.report.document import Bar, Bars, Curves, Document, Drawing, Histograms, Picture, Section, Series, Stacks, Table, Words
from benchmarks.report.history_pages import AGE, MEDIAN, P99, RATE
from benchmarks.report.page import as_html
from benchmarks.report.plots import as_png, as_svg
from benchmarks.report.results import read_runs
from benchmarks.report.scaling_pages import roofline
from benchmarks.report.summary_text import as_markdown
from edge.errors import ConfigError, OutputError
from tests.benchmarks.report_runs import LOUD, machine, write, write_run
from tests.benchmarks.report_scaling_run import scaling_report

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "converters/trained/default/precisions/card.json"


def arguments(*words: str | Path) -> argparse.Namespace:
    parser, shared = argparse.ArgumentParser(), argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", type=Path)
    add_parser(parser.add_subparsers(dest="command"), shared)
    return parser.parse_args(["report", *map(str, words)])


class _Page(HTMLParser):
    """Tags, what is fetched from elsewhere, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action") and not (value or "").startswith("#")
        ]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_run(folder / "run", invalid=LOUD)
    write(folder / "run/scaling.json", scaling_report(machine()))
    (folder / "run/accuracy.json").write_bytes((ROOT / "converters/trained/default/accuracy.json").read_bytes())
    report, lines, verdicts = command(arguments(folder / "run", "-o", folder / "out", "--card", CARD))
    assert report.written == [str(folder / "out/report.html"), str(folder / "out/report.md")]
    assert lines[0].startswith("run: latency, limits, peers, gate, scaling, accuracy of 20")
    assert {verdict.word for verdict in verdicts} >= {"pass", "fail", "invalid", "not run"}
    return folder / "out"


def test_the_page_stands_alone(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert page.fetched == []
    assert not {"script", "iframe", "object", "embed", "link", "img"} & set(page.tags)
    assert "url(http" not in (written / "report.html").read_text(encoding="utf-8")
    assert page.tags.count("svg") == len([*written.glob("*.png")]) >= 12
    assert len(set(page.ids)) == len(page.ids), "a picture would take another's clip paths"


def test_page_and_markdown_hold_the_same_tables(written: Path) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    text = (written / "report.md").read_text(encoding="utf-8")
    assert page.count("<table>") == len(re.findall(r"^\| --- ", text, re.MULTILINE))
    assert page.count("<tr>") == len(re.findall(r"^\| (?!---)", text, re.MULTILINE))
    assert {f"{name}.png" for name in re.findall(r"\]\(([\w-]+)\.png\)$", text, re.MULTILINE)} == {path.name for path in written.glob("*.png")}


@pytest.mark.parametrize(
    "said",
    [
        "## Machine and versions",
        "| processor | Example 9000 |",
        "| onnxruntime | 1.23.2 |",
        "| latency | 2026-11-22T10:00:00+00:00 | 012345678 | 0.1, 0.2, 0.3 | 0.4, 0.3, 0.2 | 0.5 |",
        "| invalid | latency | latency.overhead |",
        LOUD,
        "| not run | peers | peers.mediapipe | - | at least 2.5 times MediaPipe's rate | no wheel | project goal: the whole path",
        "| fail | latency | loops.drops_30 | 1.00 | at most 0 frames dropped at 30 frames/s | - | document 004",
        "INVALID, stages: other processes used 50%",
        "Stated: a ResNet with more than 50 residual blocks is not real time",
        "| not run | gpu | fp32 | ResNets on one crop | - | no NVIDIA driver is installed |",
        "| invalid | cpu | int8 | inceptionv4-22 over resnet18-22, batch 1, beside 1.5 |",
        "| holds | cpu | fp32 | ResNets on one crop, network alone, 25 frames/s | the period of 40.0 ms is exceeded at",
        "at 25 frames/s, not 3",
        "| latency | default fp16 | FP16 is for GPUs |",
        "| gate | instructions | valgrind is not installed",
        "| peers | peers.mediapipe | no wheel |",
        "| 30 | 200 | 199 | 1 | ",
        "| py-feat | 3.5 frames/s | a laptop | a frame | too large | https://example.org |",
        "| edge | 202 | 200 | 204 |",
        "| fer | 10.0 [10.0, 10.0] | 10.0 | 10.0 | 3 |",
        "too loud, and measured again: 3.",
        "| 4 | 7 | 12.0 | 320 | 1.60 | 1000 |",
        "INVALID, streams: other processes",
        "25 frames/s is lost at 19.0 [17.1, 20.9] faces, beyond the 5.00 that were measured",
        "| efficientnet-b0-5: PyTorch is not installed |",
        "| infer | 1.00 | 0.4 | 20.0 | 1.00 (arithmetic) |",
        "| FER2013's labels | 3,573 |",
        "| int8 | fer2013\\_ferplus.npz PrivateTest",
        "Candidate architectures: missing; --candidates",
        "One run of this hardware: a history begins with the second.",
    ],
)
def test_what_a_doubting_reader_asks_for_is_there(written: Path, said: str) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    assert said.replace("\\_", "_") in text


def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    write_run(tmp_path)
    for name in ("limits", "peers"):
        (tmp_path / f"{name}.json").unlink()
    text = as_markdown(make_document(read_runs([tmp_path])))
    for name in ("limits", "peers", "scaling", "accuracy"):
        assert f"| {name} | everything | no {name}.json in this run: python -m benchmarks {name}" in text
    assert text.count("Missing in this run.") == 4


def test_a_history_follows_the_figures_of_each_hardware_by_itself(tmp_path: Path) -> None:
    write_run(tmp_path / "history/1/gpu", utc="2026-11-20T01:00:00+00:00", commit="a" * 40, gpu="RTX 9")
    write_run(tmp_path / "history/2/gpu", utc="2026-11-21T01:00:00+00:00", commit="b" * 40, gpu="RTX 9", slow=2.0, invalid=LOUD)
    write_run(tmp_path / "history/2/jetson", utc="2026-11-21T02:00:00+00:00", commit="b" * 40, gpu="ga10b")
    report, _, verdicts = command(arguments(tmp_path / "history", "-o", tmp_path / "out"))
    slower, faster = report.runs[1].figures, report.runs[0].figures
    assert {MEDIAN, P99, AGE, RATE, "times fer's rate"} == set(faster)
    assert [slower[name] / faster[name] for name in (MEDIAN, P99, AGE, RATE)] == pytest.approx([2, 2, 2, 0.5])
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "## History (Example 9000, 4 cores, RTX 9)" in text
    assert re.search(r"^\| 2026-11-20T01:00 \| aaaaaaaaa \| history/1/gpu \| 5\.\d+ \| ", text, re.MULTILINE)
    assert re.search(r"^\| 2026-11-21T01:00 \| bbbbbbbbb \| history/2/gpu \| 10\.\d \| .*invalid", text, re.MULTILINE)
    assert (tmp_path / "out/1-history-ms.png").exists()
    assert "One run of this hardware" in text, "the Jetson's"
    assert len(verdicts) == 2 * len(
        report.runs[2].verdicts["latency"] + [each for kind in ("limits", "peers", "gate") for each in report.runs[2].verdicts[kind]]
    )


def test_runs_of_several_commits_and_machines_say_so(tmp_path: Path) -> None:
    write_run(tmp_path)
    write(tmp_path / "scaling.json", scaling_report({**machine(commit="f" * 40, gpu="RTX 9"), "dirty": True}))
    text = as_markdown(make_document(read_runs([tmp_path])))
    assert "Put together from several machines: Example 9000, 4 cores, no NVIDIA GPU; Example 9000, 4 cores, RTX 9." in text
    assert "Put together from several commits: 012345678, fffffffff+" in text


NASTY = '<script>alert("x")</script> & a|b *c* `d` $e_1$ _f_ [g](h)'


def test_texts_are_escaped_everywhere() -> None:
    curves = Curves([Series(NASTY, [1, 2], [1, 2])], NASTY, NASTY, {NASTY: 1.5})
    drawings: list[Drawing] = [curves, Bars([Bar(NASTY, 1.0)], NASTY), Stacks({NASTY: {NASTY: 1.0}}, NASTY), Histograms({NASTY: [1.0, 2.0]}, NASTY)]
    pictures = [Picture(f"p{place}", NASTY, drawing) for place, drawing in enumerate(drawings)]
    document = Document(NASTY, NASTY, [Section(NASTY, [Words(NASTY), Table([NASTY], [[NASTY]]), *pictures])])
    page = _Page(as_html(document, lambda picture: as_svg(picture.drawing, picture.name)))
    assert "script" not in page.tags
    assert page.text.count('<script>alert("x")</script> & a|b *c* `d` $e_1$ _f_ [g](h)') >= 16, "as it was written, dollar signs too"
    text = as_markdown(document)
    assert "<script" not in text.replace("\\<", "")
    assert '\\<script\\>alert("x")\\</script\\> \\& a\\|b \\*c\\* \\`d\\` $e_1$ \\_f\\_ [g]\\(h)' in text


def test_words_have_their_colours() -> None:
    document = Document("t", "s", [Section("v", [Table(["verdict", "n"], [["fail", "1.5 [1.0, 2.0]"], ["invalid", "no number"]])])])
    page = as_html(document, lambda _: "")
    assert '<td class="word bad">fail</td><td class="number">1.5 [1.0, 2.0]</td>' in page
    assert '<td class="word doubt">invalid</td><td>no number</td>' in page


@pytest.mark.parametrize(
    "drawing",
    [
        Curves([Series("a", [1, 8, 32], [1.0, 0.5, 0.4], [(0.9, 1.1), (0.4, 0.6), (0.3, 0.5)], point_names=("x", "y", "z"))], "x", "y", x_log=True, y_log=True),
        Curves([Series("a", [0, 1], [1.0, 2.0]), Series("b", [0], [1.5], joined=False)], "run", "ms", {"25 frames/s": 1.8}, x_names={0.0: "one", 1.0: "two"}),
        Bars([Bar("a", 1.0, (0.9, 1.2), "fp32"), Bar("b", 2.0, None, "int8")], "ms", {"limit": 1.5}),
        Stacks({"360p": {"detect": 1.0, "crop": 0.1}, "720p": {"detect": 2.0}}, "ms"),
        Histograms({"a": [1.0, 1.1, 1.2, 9.0], "b": [3.0]}, "ms"),
    ],
)
def test_pictures_are_drawn_twice_alike(drawing: Curves | Bars | Stacks | Histograms) -> None:
    svg = as_svg(drawing, "name")
    assert svg == as_svg(drawing, "name"), "the same numbers give the same picture"
    root = ElementTree.fromstring(svg)
    assert root.get("width") is root.get("height") is None
    assert root.get("viewBox")
    assert "currentColor" in svg
    pixels = cv2.imdecode(np.frombuffer(as_png(drawing), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape[1] == 880
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_the_roofline_is_the_least_of_bandwidth_and_arithmetic() -> None:
    floor = scaling_report(machine()).floor
    assert floor is not None
    curves = roofline(floor)
    roofs = {series.label: series for series in curves.series if series.joined}
    assert [*roofs] == ["roof: float32, copies of 1.00 MB", "roof: float32, copies of 100 MB"]
    x, y = roofs["roof: float32, copies of 100 MB"].x, roofs["roof: float32, copies of 100 MB"].y
    assert y[1:] == [20.0, 20.0]
    assert (x[1], y[0]) == (20 / 8, x[0] * 8)
    (point,) = (series for series in curves.series if not series.joined)
    assert point.label == "infer", "the crop computes nothing"
    assert point.x == [50.0]
    assert point.y == pytest.approx([20e6 / 3.0 / 1e6], rel=0.1)


def test_rows_of_another_length_and_pictures_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected rows of 2 cells, got \['1'\]"):
        Table(["a", "b"], [["1"]])
    picture = Picture("same", "", Bars([Bar("a", 1.0)], "ms"))
    with pytest.raises(ValueError, match=r"expected another name for each picture, got \['same'\] twice"):
        Document("t", "s", [Section("v", [picture, picture])]).pictures()


def test_a_card_of_something_else_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"latency\.json: expected edge\.benchmark\.latency/1: Invalid enum value"):
        command(arguments(run, "-o", tmp_path / "out", "--card", run / "latency.json"))


def test_where_no_report_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"cannot write the report to .*out"):
        command(arguments(write_run(tmp_path / "run"), "-o", tmp_path / "out"))


def test_a_run_is_kept_alone_and_without_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="--keep: expected one RUN_DIR, got 2"):
        command(arguments(tmp_path / "a", tmp_path / "a", "--keep", tmp_path / "kept"))
    report, _, _ = command(arguments(tmp_path / "a", "--keep", tmp_path / "kept"))
    assert [Path(path).name for path in report.written] == ["gate.json", "latency.json", "limits.json", "peers.json"]
