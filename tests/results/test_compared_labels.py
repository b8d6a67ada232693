"""`compare --labels reviewed`, against scikit-learn on labels as they were marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.results.review_marks import LabelMark, ReviewedSample, store_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

PLUGINS = Plugins()


def compare(*words: str) -> Result:
    """Compare both guards of the run."""
    words = ("compare", "weak", "strong", "--run", "runs/a", "--draws", "100", *words)
    return CliRunner().invoke(cli, words, obj=PLUGINS)


def mark(row: int, label: Any, word: str) -> None:
    """Mark the label of a sample as `conftest.prediction` writes it."""
    names = ("set", None, "test", "prompt_harm", f"set/test/{row}", f"content-{row}")
    sample = ReviewedSample(*names)
    store_mark(Path("runs/a"), LabelMark(sample=sample, label=bool(label), mark=word))


@pytest.fixture
def run(write: Write, scores: Any) -> Any:
    """Write a run of two guards; return its labels and both scores."""
    y, weak, strong = scores
    write("a", "guard/weak", y, weak)
    write("a", "guard/strong", y, strong)
    return y, weak, strong


def test_both_sides_are_judged_by_reviewed_labels(run: Any) -> None:
    """Wrong ones are turned round and unclear ones left out, of both."""
    y, weak, strong = run
    changed = y.copy()
    changed[:6] = ~changed[:6]
    for row in range(10):
        mark(row, y[row], "wrong" if row < 6 else "unclear")
    kept = np.r_[0:6, 10:200]

    result = compare("--labels", "reviewed", "--metrics", "auroc", "--format", "json")

    (record,) = json.loads(result.stdout)
    (line,) = record["lines"]
    expected = [roc_auc_score(changed[kept], s[kept]) for s in (weak, strong)]
    assert expected == pytest.approx([line["a"]["value"], line["b"]["value"]])
    assert (196, 200, 6, 4) == (
        record["n"],
        record["labels"]["n"],
        record["labels"]["n_wrong"],
        record["labels"]["n_unclear"],
    )
    assert "labels" not in json.loads(compare("--format", "json").stdout)[0]


def test_marks_on_the_errors_of_one_side_favour_it(run: Any) -> None:
    """All samples that the weak guard alone gets wrong are marked, and no others."""
    y, weak, strong = run
    wrong_a, wrong_b = ((s >= 0.5) != y for s in (weak, strong))
    only_a, only_b = wrong_a & ~wrong_b, wrong_b & ~wrong_a
    for row in np.flatnonzero(only_a):
        mark(row, y[row], "wrong")

    text = " ".join(compare("--labels", "reviewed").stdout.split())

    n_a, n_b = only_a.sum(), only_b.sum()
    assert f"labels as reviewed: {n_a} of 200 (0 right, {n_a} wrong" in text
    assert f"reviewed were {n_a} of {n_a} samples that A alone gets wrong" in text
    assert f"0 of {n_b} that B alone does: that favours A" in text


def test_a_mark_on_a_text_that_only_one_side_has_is_no_label_of_both(
    run: Any, write: Write
) -> None:
    """The same id with another text is another sample."""
    y, _, strong = run
    other = np.array(["content-0", "other", *(f"content-{i}" for i in range(2, 200))])
    write("a", "guard/strong", y, strong, columns={"content": other})
    mark(0, y[0], "wrong")
    assert 0 == compare("--labels", "reviewed").exit_code
    mark(1, y[1], "wrong")

    result = compare("--labels", "reviewed")

    assert 2 == result.exit_code
    assert "different texts of set/test/1, which was reviewed" in result.stderr


def test_marks_on_all_samples_favour_nobody(run: Any) -> None:
    """Whatever they say of single labels."""
    for row, label in enumerate(run[0]):
        mark(row, label, "right")

    assert "favours" not in compare("--labels", "reviewed").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no label was reviewed in runs/a"),
        (("--metrics", "micro_f1"), "micro_f1 with reviewed labels: marks are about"),
    ],
)
def test_what_marks_cannot_say_is_refused(
    run: Any, words: tuple[str, ...], message: str
) -> None:
    """In one line, and before anything is computed."""
    if words:
        mark(0, run[0][0], "wrong")
    result = compare("--labels", "reviewed", *words)

    assert 2 == result.exit_code
    assert message in result.stderr
