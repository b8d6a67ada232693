"""Training on files of the user: pairs, responses, prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    Train = Callable[..., Result]
    Manifest = Callable[[str], dict[str, Any]]


@pytest.fixture
def pairs(train: Train) -> str:
    """Write 40 pairs, the safer response first in every other row."""
    rows = [
        {
            "prompt": f"question {i}",
            f"response_{i % 2}": "sorry no",
            f"response_{1 - i % 2}": "sure here",
            f"is_response_{i % 2}_safe": True,
            f"is_response_{1 - i % 2}_safe": False,
            "safer_response_id": i % 2,
        }
        for i in range(40)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "pairs.jsonl"


def test_a_trainer_of_pairs_learns_from_a_file(
    train: Train, manifest: Manifest, pairs: str
) -> None:
    """All 40 pairs are used, and the order of two responses is learnt from them."""
    result = train("word_pairs", "-d", pairs, "--out", "m")

    assert 0 == result.exit_code, result.output
    description = manifest("m")["dataset"]
    assert 40 == sum(part["pairs"] for part in description["parts"].values())
    assert ("pairs.jsonl", "response_harm") == (
        description["sources"][0]["name"],
        description["task"],
    )
    accuracy = manifest("m")["metrics"]["test"]["pairs"]["ranking_accuracy"]
    assert 1.0 == accuracy["value"]


def test_files_of_one_name_in_two_folders_are_two(
    train: Train, manifest: Manifest, pairs: str
) -> None:
    """Line 1 of train/pairs.jsonl has nothing to do with line 1 of test/pairs.jsonl."""
    lines = Path(pairs).read_text().splitlines(keepends=True)
    for folder, part in (("train", lines[:30]), ("test", lines[30:])):
        Path(folder).mkdir()
        Path(folder, pairs).write_text("".join(part))

    result = train(
        "word_pairs", "-d", "train/pairs.jsonl", "--test-dataset", "test/pairs.jsonl",
        "--out", "m",
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    parts = manifest("m")["dataset"]["parts"]
    assert (30, 10) == (
        parts["train"]["pairs"] + parts["val"]["pairs"],
        parts["test"]["pairs"],
    )


@pytest.mark.parametrize(
    ("trainer", "row", "message"),
    [
        (
            "word_pairs",
            {"prompt": "x", "response": "y", "label": "unsafe"},
            (
                "holds no pairs, and word_pairs learns from pairs of a safer and a "
                "less safe response, as in pku_safe_rlhf; a file has them in the "
                "columns prompt, response_0, response_1, is_response_0_safe, "
                "is_response_1_safe, safer_response_id"
            ),
        ),
        (
            "word_pairs",
            {"prompt": "x", "label": "unsafe"},
            "no response, which response_harm judges: no column 'response'",
        ),
        (
            "words",
            {
                "prompt": "x",
                "response_0": "y",
                "response_1": "z",
                "is_response_0_safe": True,
                "is_response_1_safe": False,
                "safer_response_id": 0,
            },
            (
                "its rows are pairs of responses, labelled for response_harm, not "
                "prompt_harm"
            ),
        ),
    ],
)
def test_rows_of_the_wrong_kind_say_which_are_needed(
    train: Train, trainer: str, row: dict[str, Any], message: str
) -> None:
    """Exit code 2, and the columns that such a file has."""
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")

    result = train(trainer, "-d", "rows.jsonl")

    assert 2 == result.exit_code, result.output
    assert message in result.stderr
