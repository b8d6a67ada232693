"""Published results: what the files hold, and that they are never ranked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from safebench.cli.leaderboard import command
from safebench.console import RenderOptions
from safebench.datasets.catalog import SPECS
from safebench.plugins import Plugins
from safebench.reporters.formats import render_terminal
from safebench.reporters.leaderboard import build_leaderboard
from safebench.reporters.reference import (
    PublishedResults,
    add_published,
    read_published,
    reference_folder,
)
from safebench.reporters.table import LeaderboardLine
from safebench.results import Row, merge_rows

ROOT = Path(__file__).parents[2]
PUBLISHED = read_published()
METRICS = {"f1", "fpr", "auprc"}


def row(classifier: str, value: float, *, metric: str = "f1", **changes: object) -> Row:
    """Return a measured row on ToxicChat's test split."""
    made = Row(
        run="r",
        classifier=classifier,
        model="m",
        strategy="score",
        dataset="toxic_chat",
        config=None,
        split="test",
        task="prompt_harm",
        metric=metric,
        value=value,
        higher_is_better=True,
        n=400,
        n_pos=50,
        threshold=0.5,
        threshold_from="fixed",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_checkout_reads_the_benchmark_folder() -> None:
    """The rows have one home; wheels carry a copy of it."""
    assert ROOT / "benchmarks" / "reference" == reference_folder()


def test_every_row_is_whole_and_plausible() -> None:
    """Values are shares with a known set, metric and document; no row comes twice."""
    seen = set()
    for published in PUBLISHED.rows:
        assert published.set in PUBLISHED.sets, published
        assert published.metric in METRICS, published
        assert 0 < published.value <= 1, published
        assert published.sources, published
        assert published.threshold is None or 0 <= published.threshold <= 1, published
        assert published.in_distribution in (True, False, None), published
        sources = [*published.sources, *(other["source"] for other in published.also)]
        assert set(sources) <= PUBLISHED.sources.keys(), published
        assert len(set(sources)) == len(sources), published
        key = (published.name, published.set, published.metric, published.sources)
        assert key not in seen, key
        seen.add(key)


def test_two_values_of_one_cell_differ_by_little() -> None:
    """More than 0.7 points between two papers would be a misprint of ours."""
    two_values = [published for published in PUBLISHED.rows if published.also]

    assert 5 == len(two_values)
    for published in two_values:
        for other in published.also:
            assert abs(other["value"] - published.value) <= 0.0071


def test_sets_name_datasets_that_exist() -> None:
    """Name, task and split are safebench's own, or there is no such dataset here."""
    known = {(spec.name, spec.task): spec.splits for spec in SPECS}

    used = {published.set for published in PUBLISHED.rows}
    assert used == PUBLISHED.sets.keys()
    for published in PUBLISHED.sets.values():
        if published.dataset is not None:
            splits = known[published.dataset, published.task]
            assert published.split in splits, published


@pytest.mark.parametrize(
    ("model", "set_", "metric", "value", "sources"),
    [
        ("WildGuard 7B", "wildguardtest", "f1", 0.889, ("Q", "G")),
        ("Llama Guard 7B", "toxic_chat_full", "f1", 0.561, ("B",)),
        ("Llama Guard 7B", "toxic_chat_annotated", "f1", 0.616, ("G",)),
        ("Llama Guard 2 8B", "xstest", "fpr", 0.084, ("P",)),
        ("Llama Guard 7B", "openai_moderation", "auprc", 0.847, ("P",)),
        ("Qwen3Guard-0.6B (loose)", "toxic_chat_annotated", "f1", 0.777, ("Q",)),
        ("Aegis-Guard Permissive 7B", "wildguardtest", "f1", 0.715, ("G",)),
        ("BeaverDam 7B", "beavertails", "f1", 0.899, ("G",)),
        ("Llama Guard 2 8B", "wildguardtest_adversarial", "f1", 0.461, ("W",)),
        ("OpenAI Moderation API", "harmbench_prompts", "f1", 0.096, ("G",)),
    ],
)
def test_numbers_as_printed(
    model: str, set_: str, metric: str, value: float, sources: tuple[str, ...]
) -> None:
    """A sample of every document, read by eye."""
    (published,) = [
        published
        for published in PUBLISHED.rows
        if (published.name, published.set, published.metric, published.sources)
        == (model, set_, metric, sources)
    ]

    assert value == published.value


def test_who_was_trained_on_wildguardtrain_is_flagged() -> None:
    """Certain for two families, unknown for Qwen3Guard, impossible before June 2024."""
    flags = {
        published.model: published.in_distribution
        for published in PUBLISHED.rows
        if published.set == "wildguardtest"
    }

    assert flags["WildGuard 7B"] is True
    assert flags["GuardReasoner 8B"] is True
    assert flags["Qwen3Guard-8B"] is None
    assert flags["Llama Guard 2 8B"] is False


Lines = list[LeaderboardLine]


def tables(*rows: Row, metrics: list[str] | None = None) -> tuple[Lines, Lines]:
    """Return the lines without and with reference rows."""
    table = build_leaderboard(rows, metrics=metrics)
    return list(table.lines), list(add_published(table, PUBLISHED).lines)


def test_measured_lines_stay_as_they_are_and_come_first() -> None:
    """A poor measured line is the best beside better published ones."""
    before, after = tables(row("good", 0.2), row("poor", 0.1))

    assert before == after[:2]
    assert [True, False] == [line.cells[0].best for line in before]
    published = after[2:]
    assert len(published) > 20
    assert max(line.cells[0].value or 0 for line in published) > 0.2
    for line in published:
        assert not line.ranked
        assert line.source
        assert line.method.startswith("published [")
        assert not any(cell.best or cell.ties_with_best for cell in line.cells)


def test_only_matching_datasets_tasks_and_metrics_are_added() -> None:
    """Another task, a file of that name, another split or metric adds nothing."""
    for strange in (
        row("a", 0.5, task="jailbreak"),
        row("a", 0.5, split="train"),
        row("a", 0.5, dataset="toxic_chat.jsonl", split="all"),
        row("a", 0.5, metric="accuracy"),
    ):
        before, after = tables(strange)
        assert before == after, strange


def test_slices_are_not_taken_for_the_whole() -> None:
    """Numbers on the adversarial half are stored, but no line of the whole set."""
    _, after = tables(row("a", 0.5, dataset="wildguardmix"))

    lines = [line for line in after if "Llama Guard 2" in line.classifier]
    values = [line.cells[0].value for line in lines]
    assert [0.709] == values


def test_metrics_of_one_source_share_a_line() -> None:
    """F1 and false positive rate of a model card stand beside published other."""
    rows = [
        row("a", value, metric=metric, dataset="xstest")
        for metric, value in (("f1", 0.5), ("fpr", 0.1))
    ]
    _, after = tables(*rows, metrics=["f1", "fpr"])

    cards = [line for line in after if line.source == "P"]
    assert [[0.737, 0.079], [0.884, 0.084]] == [
        [cell.value for cell in line.cells] for line in cards
    ]


def test_footnotes_tell_what_a_reader_must_know() -> None:
    """Documents, the part of ToxicChat, training data, and the second value."""
    table = add_published(build_leaderboard([row("a", 0.5)]), PUBLISHED)
    notes = "\n".join(table.footnotes)

    assert "not measured here and are not ranked" in notes
    assert "[Q] Qwen3Guard Technical Report, Tables 2 and 3" in notes
    assert "the 2,853 rows with human annotation (12.7 % positive)" in notes
    assert "Llama Guard 3 8B on ToxicChat: f1 0.538 [Q], but 0.531 [G]" in notes
    wild = add_published(
        build_leaderboard([row("a", 0.5, dataset="wildguardmix")]), PUBLISHED
    )
    notes = "\n".join(wild.footnotes)
    assert "trained on data of the same source: WildGuard 7B, GuardReasoner 1B" in notes


def test_terminals_draw_them_dim_and_counts_stay_those_measured() -> None:
    """The title speaks of the measured samples; unknown sizes are a dash."""
    table = add_published(build_leaderboard([row("a", 0.5)]), PUBLISHED)

    plain = render_terminal(table, RenderOptions(width=100))
    styled = render_terminal(table, RenderOptions(width=100, styles=True))

    assert "toxic_chat:test (prompt_harm): 400 samples, 50 positive" in plain
    assert "\x1b[2mWildGuard 7B" in styled
    assert "0.500" in styled
    assert "\x1b[2m0.500" not in styled


@pytest.mark.slow
def test_the_command_adds_them_on_request_alone(tmp_path: Path) -> None:
    """Every format marks them; without the switch there are none."""
    merge_rows(tmp_path / "results.jsonl", [row("a", 0.5)])

    def output(*args: str) -> str:
        result = CliRunner().invoke(
            command, [str(tmp_path / "results.jsonl"), *args], obj=Plugins()
        )
        assert 0 == result.exit_code, result.output
        return result.stdout

    assert "published" not in output()
    for form in ("table", "md", "csv", "latex"):
        shown = output("--with-reference", "--format", form).replace("\\[", "[")
        assert "published [" in shown, form
    records = json.loads(output("--with-reference", "--format", "json"))
    assert "source" not in records[0]
    assert "G" == records[1]["source"]
    assert [2853, None] == [
        next(r["n"] for r in records if r.get("source") == source) for source in "QB"
    ]


def test_no_published_number_fits_a_file_of_ones_own(tmp_path: Path) -> None:
    """A footnote says so; the table stays as it is."""
    table = add_published(
        build_leaderboard([row("a", 0.5, dataset="own.jsonl")]), PUBLISHED
    )

    assert "no published number fits" in table.footnotes[-1]


def test_no_rows_change_nothing() -> None:
    """The table is the same object but for a note."""
    table = build_leaderboard([row("a", 0.5)])

    assert table.lines == add_published(table, PublishedResults({}, {}, ())).lines
