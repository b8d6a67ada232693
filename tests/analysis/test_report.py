"""Reports: one page that stands alone, and tables for papers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli.analyze import command as analyze_command
from safebench.cli.report import command
from safebench.plugins import Plugins
from safebench.records import Dataset, Sample, Turn
from safebench.results import Row, merge_rows
from safebench.results.comparison import compare
from safebench.results.selection import select_pairs
from safebench.results.stored_texts import store_texts
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from .conftest import FakeRun

SCORE = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]
OTHER = [0.2, 0.3, 0.1, 0.9, 0.8, 0.7, 0.4, 0.6]
UNCERTAINTY = [0.1, 0.2, 0.9, 0.3, 0.8, 0.2, 0.1, 0.3]
VOID = frozenset({"meta"})
PLUGINS = Plugins()


def result(run: FakeRun, strategy: str, auroc: float, **fields: Any) -> None:
    """Add a row of results."""
    row = {
        "run": "fake", "classifier": "guard", "model": "hand-written",
        "dataset": "prompts.jsonl", "split": "all", "task": "prompt_harm",
        "metric": "auroc", "n": 8, "n_pos": 4, "higher_is_better": True,
    }  # fmt: skip
    row |= {"strategy": strategy, "value": auroc} | fields
    merge_rows(run.folder / "results.jsonl", [Row(**row)])


def finished(run: FakeRun) -> FakeRun:
    """Return the run with two strategies on one set."""
    run.write_dataset()
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)
    run.predict("rank", score=OTHER, probability=False)
    result(run, "mean", 0.9, ci_low=0.7, ci_high=0.97)
    result(run, "rank", 0.4)
    return run


def report(run: FakeRun, *args: str) -> Result:
    """Run the command on a folder."""
    env = {"SAFEBENCH_DATA": "", "COLUMNS": "100"}
    return CliRunner().invoke(command, [str(run.folder), *args], obj=PLUGINS, env=env)


class Page(HTMLParser):
    """The elements of a page, which must nest, with their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.markup = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.hidden = ""  # inside of closed details
        self._closed = 0
        self.feed(text)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element without content."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the last element, which must be of that name."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep text, that of prompts apart."""
        if "blockquote" in self.open:
            assert "details" in self.open
            self.hidden += data
        elif "style" not in self.open:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        """Return all values of an attribute."""
        return [
            value
            for _, attributes in self.tags
            for name, value in attributes.items()
            if name == attribute and value
        ]


def page(run: FakeRun, tmp_path: Path, *args: str) -> Page:
    """Return the page that the command writes."""
    path = tmp_path / "page.html"
    outcome = report(run, "-o", str(path), *args)
    assert 0 == outcome.exit_code, outcome.output
    return Page(path.read_text("utf-8"))


def test_the_page_stands_alone_and_its_contents_lead_somewhere(
    run: FakeRun, tmp_path: Path
) -> None:
    """No script, nothing to load, every link to an id of this page, all ids once."""
    found = page(finished(run), tmp_path)

    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "form"}
    assert [] == found.values("src")
    assert [] == [name for _, attrs in found.tags for name in attrs if name[:2] == "on"]
    ids = found.values("id")
    assert len(set(ids)) == len(ids)
    links = found.values("href")
    assert {f"#{name}" for name in ids} >= set(links)
    assert {"#scores", "#charts", "#errors", "#made"} <= set(links)
    assert "default-src 'none'" in found.markup
    assert "prefers-color-scheme: dark" in found.markup
    assert "@media print" in found.markup
    assert 5 <= sum(tag == "svg" for tag, _ in found.tags)


def test_scores_errors_and_analysis_are_on_it(run: FakeRun, tmp_path: Path) -> None:
    """What the pages of a run show, with the numbers of the results."""
    text = page(finished(run), tmp_path).text

    assert "0.900*" in text
    assert "[0.700 0.970]" in text
    assert "guard mean: 1 false negatives, 1 false positives" in text
    assert "Which uncertainty finds the errors on prompts.jsonl:all" in text
    assert "Slices and calibration on prompts.jsonl:all" in text
    assert "No manifest says it." in text


def test_an_ensemble_has_its_members_on_the_page(run: FakeRun, tmp_path: Path) -> None:
    """How they vote, and a dot for each sample; the contents lead to it."""
    finished(run)
    margin = np.random.default_rng(0).normal(size=(8, 3))
    run.record_members(np.stack([margin, -margin], axis=2))

    found = page(run, tmp_path)

    assert "Disagreement of members, by decision" in found.text
    assert "votes for positive" in found.text
    assert "#analysis-fake-ensembles" in found.values("href")


def test_two_pages_of_one_run_are_equal(run: FakeRun, tmp_path: Path) -> None:
    """No moment of writing and no random names inside."""
    finished(run)

    first, second = page(run, tmp_path).markup, page(run, tmp_path).markup

    assert first == second


@pytest.mark.slow
def test_prompts_are_there_only_if_asked_for_and_closed(
    run: FakeRun, tmp_path: Path
) -> None:
    """With a warning above, as text, and what hides in them spelt out."""
    run.prompts[2] = "<img src=x onerror=alert(1)> \u202e secret </details>"
    finished(run)

    without, shown = page(run, tmp_path), page(run, tmp_path, "--texts")

    assert "secret" not in without.markup
    assert "p2" in without.text
    assert "meant to be harmful" in shown.text
    assert "secret" not in shown.text
    assert "<img src=x onerror=alert(1)> <U+202E> secret </details>" in shown.hidden
    assert "img" not in {tag for tag, _ in shown.tags}


def test_texts_that_the_run_stored_are_shown_without_its_data(
    run: FakeRun, tmp_path: Path
) -> None:
    """`run --keep-text`: the data set is gone, and its texts are in the folder."""
    finished(run)
    samples = [
        Sample(id=id_, turns=(Turn("user", prompt),))
        for id_, prompt in zip(run.ids, run.prompts, strict=True)
    ]
    dataset = Dataset(
        name="prompts.jsonl",
        config=None,
        split="all",
        task="prompt_harm",
        policy=None,
        revision="",
        samples=samples,
        ground_truth=[],
    )
    store_texts(run.folder, dataset)
    (tmp_path / "prompts.jsonl").unlink()

    shown = page(run, tmp_path, "--texts")

    assert "prompt number 2" in shown.hidden
    assert "not at hand" not in shown.text


@pytest.mark.slow
def test_analyze_writes_the_same_page(run: FakeRun, tmp_path: Path) -> None:
    """`analyze --html` is a report of one run."""
    finished(run)
    path = tmp_path / "analyzed.html"
    arguments = [str(run.folder), "--html", str(path)]

    outcome = CliRunner().invoke(
        analyze_command, arguments, obj=PLUGINS, env={"SAFEBENCH_DATA": ""}
    )

    assert 0 == outcome.exit_code, outcome.output
    assert path.read_text("utf-8") == page(run, tmp_path).markup


def test_hostile_names_are_text(run: FakeRun, tmp_path: Path) -> None:
    """Names of guards come from the files of others."""
    run.write_dataset()
    run.predict(score=SCORE, classifier="<b>bold\u202e")
    result(run, "mean", 0.9, classifier="<b>bold\u202e")

    found = page(run, tmp_path)

    assert "b" not in {tag for tag, _ in found.tags}
    assert "<b>bold" in found.text
    assert "\u202e" not in found.markup


def test_differences_to_a_baseline_are_those_of_compare(
    run: FakeRun, tmp_path: Path
) -> None:
    """Line minus baseline, with the sign and the interval of the paired test."""
    finished(run)

    text = page(run, tmp_path, "--baseline", "mean").text

    specs = [PLUGINS.get(MetricSpec, name) for name in ("auroc", "recall")]
    (expected,) = compare(select_pairs("mean", "rank", [run.folder]), specs)
    assert "Compared with mean" in text
    for line in expected.lines:
        assert line.difference
        assert line.difference.value is not None
        assert f"{line.difference.value:+.3f}" in text


def test_a_baseline_that_nothing_stands_beside_is_refused(
    run: FakeRun, tmp_path: Path
) -> None:
    """A report without the comparison that was asked for would be silent."""
    finished(run)
    path = tmp_path / "page.html"

    outcome = report(run, "-s", "mean", "--baseline", "mean", "-o", str(path))
    wrong = report(run, "--baseline", "meen", "-o", str(path))

    assert "nothing else in this report is on its sets" in outcome.output
    assert "mean" in wrong.output
    assert not path.exists()


def test_one_class_and_failed_samples_are_said_in_words(
    run: FakeRun, tmp_path: Path
) -> None:
    """No empty axis, no silent gap."""
    run.labels = [True] * 8
    run.write_dataset()
    run.predict(score=SCORE, failed=(1,))
    result(run, "mean", 0.5)

    text = page(run, tmp_path).text

    assert "All 8 samples are positive" in text
    assert "Failed: 1 of 8" in text
    assert "no verdict" in text


def test_a_run_without_predictions_still_has_its_scores(
    run: FakeRun, tmp_path: Path
) -> None:
    """`--predictions none` leaves rows alone."""
    run.folder.mkdir()
    result(run, "mean", 0.9)
    result(run, "rank", 0.4)

    text = page(run, tmp_path).text

    assert "0.900*" in text
    assert "run again without `--predictions none`" in text


@pytest.mark.slow
def test_guards_of_several_runs_are_told_apart(run: FakeRun, tmp_path: Path) -> None:
    """Two runs of one guard on one set share charts, each under its run's name."""
    finished(run)
    other = type(run)(tmp_path / "later", run.prompts, run.labels)
    finished(other)
    result(other, "mean", 0.8)

    text = page(run, tmp_path, str(other.folder)).text

    assert "guard [fake] mean" in text
    assert "guard [later] mean" in text
    assert "Analysis of later" in text


def paper(run: FakeRun, *args: str) -> str:
    """Return the tables that the command prints."""
    outcome = report(run, *args)
    assert 0 == outcome.exit_code, outcome.output
    return outcome.stdout


def table_run(run: FakeRun, **fields: Any) -> FakeRun:
    """Return a run of four strategies without predictions."""
    run.folder.mkdir()
    for strategy, auroc in (("one", 0.9), ("two", 0.8), ("three", 0.7), ("four", 0.6)):
        result(run, strategy, auroc, **fields)
        error = {"metric": "brier", "higher_is_better": False}
        result(run, strategy, 1 - auroc, **error, **fields)
    return run


def test_best_is_bold_and_second_best_underlined(run: FakeRun) -> None:
    """By the direction of each metric, in both formats."""
    table_run(run)
    metrics = ("--metrics", "auroc,brier")

    latex = paper(run, "--format", "latex", *metrics).splitlines()
    markdown = paper(run, "--format", "md", *metrics).splitlines()

    assert r"guard & one & \textbf{0.900} & \textbf{0.100} \\" in latex
    assert r"guard & two & \underline{0.800} & \underline{0.200} \\" in latex
    assert r"guard & three & 0.700 & 0.300 \\" in latex
    assert "| guard | one | **0.900** | **0.100** |" in markdown
    assert "| guard | two | <ins>0.800</ins> | <ins>0.200</ins> |" in markdown
    assert latex.count(r"\toprule") == latex.count(r"\end{table}") == 1


def test_names_are_escaped_for_latex_and_markdown(run: FakeRun) -> None:
    """A name of others sets no command and no cell."""
    name = r"a_b|c & \input{x} 100%"
    table_run(run, classifier=name)

    latex = paper(run, "--format", "latex", "--metrics", "auroc")
    markdown = paper(run, "--format", "md", "--metrics", "auroc")

    escaped = r"a\_b|c \& \textbackslash{}input\{x\} 100\%"
    assert rf"{escaped} & one & \textbf{{0.900}} \\" in latex
    assert r"| a_b\|c & \\input{x} 100% | one |" in markdown


def test_intervals_stand_beside_the_numbers_if_wanted(run: FakeRun) -> None:
    """And else are left out, as most papers have no room for them."""
    table_run(run, ci_low=0.1, ci_high=0.95)

    with_ends = paper(run, "--format", "latex", "--metrics", "auroc", "--ci")

    without = paper(run, "--format", "latex", "--metrics", "auroc")
    assert r"\textbf{0.900} [0.100 0.950]" in with_ends
    assert "% brackets: 95" in with_ends
    assert "[0.100" not in without
    assert "brackets" not in without


def test_the_name_of_the_file_says_the_format(run: FakeRun, tmp_path: Path) -> None:
    """`-o table.tex` is LaTeX; what a table cannot hold is refused."""
    table_run(run)
    path = tmp_path / "table.tex"

    assert 0 == report(run, "-o", str(path)).exit_code
    assert r"\toprule" in path.read_text("utf-8")
    other = report(run, "-o", str(tmp_path / "table.pdf"))
    assert ".html, .htm, .md, .tex" in other.output
    refused = report(run, "-o", str(path), "--texts")
    assert "--texts" in refused.output


@pytest.mark.parametrize(
    "arguments", [("-c", "gard"), ("-d", "prompt"), ("-s", "men"), ("--metrics", "acu")]
)
def test_a_wrong_name_is_refused_with_the_nearest(
    run: FakeRun, tmp_path: Path, arguments: tuple[str, str]
) -> None:
    """And nothing is written."""
    finished(run)
    path = tmp_path / "page.html"

    outcome = report(run, *arguments, "-o", str(path))

    assert 0 != outcome.exit_code
    assert re.search("did you mean|there is|known", outcome.output)
    assert not path.exists()
