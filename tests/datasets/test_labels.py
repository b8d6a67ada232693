"""Label words: built-in ones, the user's map, and ambiguous ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets.loader import load_dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset

    Resolve = Callable[..., DatasetRequest]
    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('"safe"', False),
        ('"Unsafe "', True),
        ('"harmful"', True),
        ('"unharmful"', False),
        ('"benign"', False),
        ('"toxic"', True),
        ("0", False),
        ("1", True),
        ("1.0", True),
        ('"1"', True),
        ("true", True),
        ("false", False),
        ('"TRUE"', True),
        ('"1.0"', True),
        ('"0.0"', False),
        ('" 1.00 "', True),
        ('"+1"', True),
        ('"0,0"', False),
        ("-0.0", False),
        ("null", None),
        ("NaN", None),
        ('""', None),
        ('" "', None),
    ],
)
def test_common_label_words_are_understood(
    load: Load, write_file: WriteFile, word: str, value: bool | None
) -> None:
    """Words, numbers and booleans mean what they say; null means unknown."""
    dataset = load(write_file(f'{{"prompt": "x", "label": {word}}}'))

    assert value is dataset.ground_truth[0].label.value


def test_the_label_map_comes_first(load: Load, write_file: WriteFile) -> None:
    """Words of the user's own are understood, and may overrule the built-in ones."""
    rows = [f'{{"prompt": "{w}", "label": "{w}"}}' for w in ("ok", "BAD", "benign")]
    words = {"ok": "safe", "bad": "unsafe", "benign": "unsafe"}

    dataset = load(write_file(*rows), label_map=words)

    assert [False, True, True] == [truth.label.value for truth in dataset.ground_truth]


def test_a_label_map_to_nonsense_is_refused(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """The right-hand side must be a class."""
    message = error_message(write_file(GOOD), label_map={"ok": "fine"})

    assert "'fine' is neither safe nor unsafe" in message


def test_true_in_a_column_called_is_safe_is_refused(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """It would mean the opposite; the label map settles it."""
    path = write_file('{"prompt": "x", "is_safe": true}')

    assert "--label-map true=safe" in error_message(f"{path},label=is_safe")
    dataset = load(f"{path},label=is_safe", label_map={"true": "safe"})
    assert dataset.ground_truth[0].label.value is False


def test_refusal_words_belong_to_the_refusal_task(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """`refusal` is a label for that task alone."""
    path = write_file('{"prompt": "x", "response": "no", "label": "refusal"}')

    assert "unknown label 'refusal'" in error_message(path)
    assert load(f"{path},task=refusal").ground_truth[0].label.value is True


@pytest.mark.parametrize("name", ["set.csv", "set.tsv", "set.jsonl"])
@pytest.mark.parametrize("cell", ["", " ", "\u00a0"])
def test_an_empty_cell_is_an_unknown_label(
    load: Load, write_file: WriteFile, name: str, cell: str
) -> None:
    """It is counted, and the other rows keep their labels."""
    if name.endswith("jsonl"):
        rows = [f'{{"prompt": "x", "label": "{cell}"}}', GOOD]
    else:
        tab = "," if name.endswith("csv") else "\t"
        rows = [f"prompt{tab}label", f"x{tab}{cell}", f"hello{tab}0"]

    dataset = load(write_file(*rows, name=name))

    assert [None, False] == [truth.label.value for truth in dataset.ground_truth]
    assert {"unknown_labels": 1} == dataset.counts


@pytest.mark.parametrize("word", ["-1", "-1.0", "-99", "n/a", "?", "None", "unlabeled"])
def test_a_sign_for_no_label_is_asked_about(
    error_message: ErrorMessage, load: Load, write_file: WriteFile, word: str
) -> None:
    """No class is suggested: -1 is near 1 in writing alone."""
    path = write_file(f'{{"prompt": "x", "label": "{word}"}}', GOOD)

    message = error_message(path)

    assert "did you mean" not in message
    key = "-1" if word == "-1.0" else word.casefold()
    assert f"--label-map {key}=unknown, safe or unsafe" in message
    unknown = load(path, label_map={word: "unknown"})
    assert [None, False] == [truth.label.value for truth in unknown.ground_truth]


@pytest.mark.parametrize(
    ("word", "near"),
    [
        *(("unsaf", "unsafe"), ("harmfull", "harmful"), ("bening", "benign")),
        *((word, None) for word in ("hate", "2", "10", "unharmless", "insafe", "01")),
        *((word, None) for word in ("not safe", "untoxic", "untrue", "11", "nonsafe")),
    ],
)
def test_a_hint_never_names_the_opposite(
    error_message: ErrorMessage, write_file: WriteFile, word: str, near: str | None
) -> None:
    """Typos have a hint; numbers, negations and other words have none."""
    message = error_message(write_file(f'{{"prompt": "x", "label": "{word}"}}'))

    assert ("did you mean" in message) is bool(near)
    if near:
        assert f"did you mean {near!r}" in message
    else:
        assert "--label-map" in message


@pytest.mark.parametrize(
    "column",
    [
        *("is_safe", "safety", "benign", "isHarmless", "is_ok", "not_toxic"),
        *("is_not_harmful", "Acceptable", "clean", "prompt_safe", "non-toxic"),
        *("isCivil", "nontoxic"),
    ],
)
@pytest.mark.parametrize("value", ["1", "true", "0.0"])
def test_numbers_in_a_column_named_after_the_safe_class_are_asked_about(
    error_message: ErrorMessage,
    load: Load,
    write_file: WriteFile,
    column: str,
    value: str,
) -> None:
    """There, 1 would mean the opposite; words are clear in any column."""
    path = write_file(f'{{"prompt": "x", "{column}": "{value}"}}')
    word = value.removesuffix(".0")

    assert f"--label-map {word}=safe or" in error_message(f"{path},label={column}")
    path = write_file(f'{{"prompt": "x", "{column}": "unsafe"}}')
    clear = load(f"{path},label={column}")
    assert clear.ground_truth[0].label.value is True


@pytest.mark.parametrize(
    ("task", "column"),
    [("refusal", "complied"), ("refusal", "compliance"), ("groundedness", "grounded")],
)
def test_columns_named_after_the_negative_class_of_a_task_are_asked_about(
    error_message: ErrorMessage, write_file: WriteFile, task: str, column: str
) -> None:
    """1 in `complied` is no refusal."""
    path = write_file(f'{{"prompt": "x", "response": "y", "{column}": 1}}')

    message = error_message(f"{path},task={task},label={column}")

    assert f"is '1' in column {column!r}" in message


@pytest.mark.parametrize(
    "column", ["label", "unsafe", "is_unsafe", "harmful", "toxicity", "isToxic", "flag"]
)
def test_numbers_in_other_columns_are_understood(
    load: Load, write_file: WriteFile, column: str
) -> None:
    """1 is what the task looks for."""
    path = write_file(f'{{"prompt": "x", "{column}": 1}}')

    dataset = load(f"{path},label={column}")

    assert dataset.ground_truth[0].label.value is True


def test_two_meanings_of_one_word_are_refused(
    error_message: ErrorMessage, write_file: WriteFile
) -> None:
    """1 and 1.0 are one word."""
    message = error_message(write_file(GOOD), label_map={"1": "safe", "1.0": "unsafe"})

    assert "'1' is given two meanings" in message


def notes_of(resolve: Resolve, text: str, **options: object) -> list[str]:
    """Return what loading a dataset tells the user about numbers and their meaning."""
    notes: list[str] = []
    load_dataset(resolve(text, **options), say=notes.append)
    return [note for note in notes if "is taken for" in note]


@pytest.mark.parametrize(
    ("column", "values", "one"),
    [
        ("sicher", (1, 0), "1"),
        ("seguro", ("1", "0"), "1"),
        ("безопасно", (1.0, 0.0), "1"),
        ("安全", (1, 0), "1"),
        ("inoffensif", (True, False), "true"),
        ("c3", ("TRUE", "FALSE"), "true"),
    ],
)
def test_a_column_whose_name_says_nothing_is_named_with_what_1_is_taken_for(
    resolve: Resolve, write_file: WriteFile, column: str, values: Any, one: str
) -> None:
    """In any language: no list of words knows them all, so the user is told.

    Words of classes, and the user's own map, leave nothing to tell.
    """
    rows = [{"prompt": f"p{i}", column: value} for i, value in enumerate(values)]
    words = [{"prompt": "p", column: "safe"}, {"prompt": "q", column: "unsafe"}]
    texts = ["\n".join(map(json.dumps, part)) for part in (rows, words)]
    zero = {"1": "0", "true": "false"}[one]

    noted = notes_of(resolve, f"{write_file(texts[0])},label={column}")
    mapped = notes_of(
        resolve,
        f"{write_file(texts[0])},label={column}",
        label_map={one: "safe", zero: "unsafe"},
    )
    clear = notes_of(resolve, f"{write_file(texts[1])},label={column}")

    assert 1 == len(noted)
    assert f"{one} in column {column!r} is taken for unsafe" in noted[0]
    assert f"--label-map {one}=safe --label-map {zero}=unsafe" in noted[0]
    assert [] == mapped == clear


@pytest.mark.parametrize(
    "column", ["label", "y", "is_unsafe", "isToxic", "flagged", "hate_speech", "target"]
)
def test_a_column_that_is_named_after_what_it_holds_needs_no_note(
    resolve: Resolve, write_file: WriteFile, column: str
) -> None:
    """1 is what the task looks for, as its readers expect."""
    path = write_file(f'{{"prompt": "x", "{column}": 1}}')

    assert [] == notes_of(resolve, f"{path},label={column}")
