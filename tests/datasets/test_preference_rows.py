"""Files of pairs: two responses to a prompt, each labelled, and the safer one named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.records import Turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

ROW = {
    "prompt": "ask",
    "response_0": "bad",
    "response_1": "good",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "safer_response_id": 1,
}


def lines(*rows: dict[str, Any]) -> list[str]:
    """Return rows as JSON lines."""
    return [json.dumps(row) for row in rows]


def without(name: str, **more: Any) -> dict[str, Any]:
    """Return the good row without a column, and with others."""
    return {k: v for k, v in ROW.items() if k != name} | more


def test_a_row_is_two_samples_of_one_pair(load: Load, write_file: WriteFile) -> None:
    """Both responses are judged in the light of the prompt, in one group."""
    dataset = load(write_file(*lines(ROW, ROW | {"prompt": "else"})))

    assert ("response_harm", 4) == (dataset.task, len(dataset))
    assert (Turn("user", "ask"), Turn("assistant", "bad")) == dataset.samples[0].turns
    assert "good" == dataset.samples[1].judged.text
    assert [True, False] == [truth.label.value for truth in dataset.ground_truth[:2]]
    assert (
        dataset.samples[0].group == dataset.samples[1].group != dataset.samples[2].group
    )
    first, second = (truth.pair for truth in dataset.ground_truth[:2])
    assert first
    assert second
    assert (first[0], "unsafer", "safer") == (second[0], first[1], second[1])


def test_a_file_gives_the_pairs_that_a_trainer_learns_from(
    load: Load, write_file: WriteFile
) -> None:
    """Signs, order and severities are those of the rows."""
    levels = {"response_0_severity_level": 3, "response_1_severity_level": 0}
    both_safe = {"is_response_0_safe": True, "safer_response_id": 0, "prompt": "b"}

    dataset = load(write_file(*lines(ROW | levels, ROW | both_safe)))

    sides = [
        (sample.judged.text, truth.pair and truth.pair[1], truth.meta.get("severity"))
        for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
    ]
    assert [("bad", "unsafer", 3), ("good", "safer", 0)] == sides[:2]
    assert [("bad", "safer", None), ("good", "unsafer", None)] == sides[2:]
    assert [True, False, False, False] == [
        truth.label.value for truth in dataset.ground_truth
    ]


def test_a_pair_id_has_file_and_line_but_no_folder(
    load: Load, write_file: WriteFile, tmp_path: Path
) -> None:
    """The data are the same in another folder, and other data under the same name."""
    here = load(write_file(*lines(ROW)))
    for name, row in (("same", ROW), ("other", ROW | {"prompt": "else"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "set.jsonl").write_text(json.dumps(row) + "\n")

    same, other = (load(str(tmp_path / n / "set.jsonl")) for n in ("same", "other"))

    assert here.ground_truth[0].pair
    assert here.ground_truth[0].pair[0].startswith("set.jsonl:1@")
    assert here.data_hash == same.data_hash
    assert {g.pair and g.pair[0] for g in here.ground_truth}.isdisjoint(
        {g.pair and g.pair[0] for g in other.ground_truth}
    )


def test_a_csv_file_may_hold_pairs(load: Load, write_file: WriteFile) -> None:
    """Its cells are text: true, False, yes, No, 0 and 1 are understood."""
    header = ",".join(ROW)
    rows = ["ask,bad,good,False,true,1", "ask,bad,good,No,yes,1", "ask,bad,good,0,1,1"]

    dataset = load(write_file(header, *rows, name="set.csv"))

    assert [True, False] * 3 == [truth.label.value for truth in dataset.ground_truth]
    assert ["unsafer", "safer"] * 3 == [
        g.pair and g.pair[1] for g in dataset.ground_truth
    ]


def test_ids_groups_and_unknown_labels_are_kept(
    load: Load, write_file: WriteFile
) -> None:
    """The sides of a row with an id are told apart by their number."""
    row = ROW | {"id": "r7", "group": "g", "is_response_0_safe": None}

    dataset = load(write_file(*lines(row)))

    assert ["r7/0", "r7/1"] == [sample.id for sample in dataset.samples]
    assert {"g"} == {sample.group for sample in dataset.samples}
    assert dataset.ground_truth[0].label.value is None
    assert {"unknown_labels": 1} == dataset.counts


def test_the_columns_of_pairs_can_be_named(load: Load, write_file: WriteFile) -> None:
    """As those of other files are, and the words of a label, too."""
    row = {"q": "ask", "a": "x", "b": "y", "a_ok": "fine", "b_ok": 0, "best": "0"}
    named = (
        "prompt=q,response_0=a,response_1=b,is_response_0_safe=a_ok,"
        "is_response_1_safe=b_ok,safer_response_id=best"
    )

    dataset = load(f"{write_file(*lines(row))},{named}", label_map={"fine": "safe"})

    assert [False, True] == [truth.label.value for truth in dataset.ground_truth]
    assert ["safer", "unsafer"] == [g.pair and g.pair[1] for g in dataset.ground_truth]


def test_rows_with_a_label_are_not_pairs(load: Load, write_file: WriteFile) -> None:
    """Rows with a label of their own are no pairs, whatever else they hold."""
    dataset = load(write_file(*lines(ROW | {"label": "unsafe"})))

    assert ("prompt_harm", 1) == (dataset.task, len(dataset))
    assert dataset.ground_truth[0].pair is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            without("safer_response_id", safer_id=1),
            (
                "a file of pairs, but no column 'safer_response_id'; did you mean "
                "'safer_id'? (columns: prompt, response_0"
            ),
        ),
        (without("response_1"), "no column 'response_1' (columns: prompt"),
        (without("prompt", question="x"), "no column 'prompt'; is it 'question'?"),
        (ROW | {"safer_response_id": 2}, ":1: safer_response_id: 2 is neither 0 nor 1"),
        (ROW | {"safer_response_id": None}, "None is neither 0 nor 1"),
        (ROW | {"response_0": None}, ":1: 'response_0' is not text: None"),
        (ROW | {"is_response_0_safe": "maybe"}, "is_response_0_safe: unknown label"),
        (ROW | {"prompt": " "}, ":1: empty prompt"),
        (ROW | {"response_0_severity_level": 1}, "of one response alone"),
        (
            ROW | {"response_0_severity_level": "x", "response_1_severity_level": 1},
            "response_0_severity_level: 'x' is not a number",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_errors_in_pairs_are_one_line(
    error_message: ErrorMessage,
    write_file: WriteFile,
    row: dict[str, Any],
    message: str,
) -> None:
    """Which column or value of which line, and what would do."""
    error = error_message(write_file(*lines(row)))

    assert message in error
    assert 1 == len(error.splitlines())


def test_a_column_that_one_row_lacks_is_a_bad_row(
    load: Load, write_file: WriteFile
) -> None:
    """The others are read if that is asked for."""
    path = write_file(*lines(ROW, without("response_1")))

    dataset = load(path, on_bad_row="skip")

    assert (2, {"skipped": 1}) == (len(dataset), dataset.counts)


def test_an_id_that_repeats_is_refused(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """By the id as the file has it."""
    path = write_file(*lines(ROW | {"id": "r7"}, ROW | {"id": "r7"}))

    assert f"{path}:2: id 'r7' repeats {path}:1" in error_message(path)


def test_pairs_are_for_judging_responses(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """Another task is refused rather than read as something else."""
    message = error_message(f"{write_file(*lines(ROW))},task=prompt_harm")

    assert "its rows are pairs of responses, labelled for response_harm" in message


@pytest.mark.slow
def test_a_file_of_pairs_loads_as_the_public_set(
    load: Load, write_file: WriteFile, data_root: Path
) -> None:
    """The rows of PKU-SafeRLHF as a local file give its samples, labels and order."""
    source = data_root / "PKU-Alignment" / "PKU-SafeRLHF" / "v0" / "test.jsonl"
    path = write_file(*source.read_text(encoding="utf-8").splitlines())

    from_file, public = load(path), load("pku_safe_rlhf", data_root=data_root)

    assert [s.content for s in public.samples] == [s.content for s in from_file.samples]
    assert [g.label for g in public.ground_truth] == [
        g.label for g in from_file.ground_truth
    ]
    assert [g.pair and g.pair[1] for g in public.ground_truth] == [
        g.pair and g.pair[1] for g in from_file.ground_truth
    ]
