"""The rows of a training: dropped, merged, subsampled, held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.testing import Result

    Train = Callable[..., Result]
    Manifest = Callable[[str], dict[str, Any]]


def write_rows(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Write a JSON Lines file and return its path."""
    lines = [json.dumps(row) for row in rows]
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"./{name}"


def prompts(n: int, start: int = 0) -> list[dict[str, Any]]:
    """Return rows whose words give their class away."""
    return [
        {"prompt": f"{'steal' if i % 2 else 'bake'} thing {i}", "label": str(i % 2)}
        for i in range(start, start + n)
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"prompt": "x"', "rows.jsonl:3: not JSON"),
        ('{"prompt": "x", "label": "purple"}', "rows.jsonl:3: unknown label 'purple'"),
        ('{"prompt": "", "label": "1"}', "rows.jsonl:3: "),
    ],
)
def test_a_bad_line_is_named_or_left_out_on_demand(
    train: Train, manifest: Manifest, bad: str, message: str
) -> None:
    """FILE:LINE by default; with --on-bad-row skip the rest is learnt."""
    path = write_rows("rows.jsonl", prompts(80))
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join([*lines[:2], bad, *lines[2:]]) + "\n")

    refused = train("words", "-d", path, "--out", "m")
    skipped = train("words", "-d", path, "--out", "m", "--on-bad-row", "skip")

    assert 2 == refused.exit_code
    assert message in refused.stderr
    assert 0 == skipped.exit_code, skipped.output
    parts = manifest("m")["dataset"]["parts"].values()
    assert 80 == sum(part["rows"] for part in parts)


def test_rows_are_dropped_merged_and_counted(train: Train, manifest: Manifest) -> None:
    """No label, duplicates, a tie: said, and gone from the parts."""
    rows = prompts(80)
    rows += [{"prompt": "unlabelled", "label": None}]
    rows += [rows[0], rows[0] | {"label": "1"}]  # two against one
    rows += [{"prompt": "split", "label": "0"}, {"prompt": "split", "label": "1"}]

    result = train("words", "-d", write_rows("rows.jsonl", rows), "--out", "m")

    assert 0 == result.exit_code, result.output
    assert "1 rows without a label: left out" in result.stderr
    assert (
        "train: 3 duplicates merged, 2 with contradictory labels, 1 ties left out"
        in result.stderr
    )
    parts = manifest("m")["dataset"]["parts"].values()
    assert 80 == sum(part["rows"] for part in parts)
    assert 40 == sum(part["positive"] for part in parts)


def test_a_given_test_set_stays_whole_and_is_not_learnt(
    train: Train, manifest: Manifest
) -> None:
    """Ten of its prompts stand among the training rows, too, and leave them."""
    learnt = write_rows("learnt.jsonl", prompts(100))
    test = write_rows("test.jsonl", prompts(30, start=90))

    result = train("words", "-d", learnt, "--test-dataset", test, "--out", "m")

    assert 0 == result.exit_code, result.output
    assert "train: 10 rows are of groups held out: left out" in result.stderr
    parts = manifest("m")["dataset"]["parts"]
    assert 30 == parts["test"]["rows"]
    assert 90 == parts["train"]["rows"] + parts["val"]["rows"]
    # two parts of 70 and 15: the rest is cut in that proportion, each class apart
    assert parts["val"]["rows"] == pytest.approx(90 * 15 / 85, abs=2)


def test_several_datasets_are_joined_without_a_common_group(
    train: Train, manifest: Manifest
) -> None:
    """Ids that two files share are told apart, and a common prompt is one row."""
    first, second = prompts(40), prompts(40, start=39)
    for rows in (first, second):
        for i, row in enumerate(rows):
            row["id"] = f"row{i}"
    paths = write_rows("one.jsonl", first), write_rows("two.jsonl", second)

    result = train("words", "-d", paths[0], "-d", paths[1], "--out", "m")

    assert 0 == result.exit_code, result.output
    parts = manifest("m")["dataset"]["parts"].values()
    assert 79 == sum(part["rows"] for part in parts)
    assert ["one.jsonl", "two.jsonl"] == [
        source["id"] for source in manifest("m")["dataset"]["sources"]
    ]


def test_fewer_rows_than_asked_for_are_all_taken_with_a_warning(train: Train) -> None:
    """The count of both is said."""
    path = write_rows("rows.jsonl", prompts(50))

    result = train("words", "-d", path, "--sample", "60", "--out", "m")

    assert 0 == result.exit_code, result.output
    assert "warning: 60 rows asked for, 50 there: all of them" in result.stderr


def test_a_sample_keeps_both_classes_and_grows(
    train: Train, manifest: Manifest
) -> None:
    """Rows sorted by class: half of each; the next larger sample has them all."""
    rows = sorted(prompts(200), key=lambda row: row["label"])
    path = write_rows("rows.jsonl", rows)

    result = train("words", "-d", path, "--sample", "80", "--out", "m")

    assert 0 == result.exit_code, result.output
    parts = manifest("m")["dataset"]["parts"].values()
    assert 80 == sum(part["rows"] for part in parts)
    assert 40 == sum(part["positive"] for part in parts)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (prompts(3), "no group is left for test (train 2, val 1, test 0)"),
        (prompts(80)[1::2], "all rows of train are positive"),
    ],
)  # fmt: skip
def test_too_few_rows_or_classes_are_refused(
    train: Train, rows: list[dict[str, Any]], message: str
) -> None:
    """An empty part, or one class alone."""
    result = train("words", "-d", write_rows("rows.jsonl", rows))

    assert 2 == result.exit_code
    assert message in result.stderr
