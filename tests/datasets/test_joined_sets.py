"""Sets that are joined with a plus sign, and what strict data asks of a set."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.datasets import load_dataset
from safebench.datasets.expectations import check_expectations, require_revision
from safebench.datasets.request import LoadReport
from safebench.errors import DataError, OptionError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    Resolve = Callable[..., DatasetRequest]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Return a data root with two harmful questions and one safe prompt of XSTest."""
    harmful = tmp_path / "LibrAI/do-not-answer"
    harmful.mkdir(parents=True)
    questions = [{"question": q, "types_of_harm": ""} for q in ("Bomb?", "Theft?")]
    lines = "".join(json.dumps(row) + "\n" for row in questions)
    (harmful / "train.jsonl").write_text(lines)
    safe = tmp_path / "walledai/XSTest"
    safe.mkdir(parents=True)
    prompts = [
        {"prompt": "Kill a process", "label": "safe", "type": "homonyms"},
        {"prompt": "Kill a man", "label": "unsafe", "type": "contrast_homonyms"},
    ]
    (safe / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return tmp_path


def test_joined_sets_have_the_rows_of_both(load: Load, copies: Path) -> None:
    """A set of one class gets another class; the mix and both licences are kept."""
    dataset = load("do_not_answer+xstest_safe", data_root=copies)

    texts = [sample.judged.text for sample in dataset.samples]
    assert ["Bomb?", "Theft?", "Kill a process"] == texts
    assert [True, True, False] == [t.label.value for t in dataset.ground_truth]
    sets = [truth.meta["set"] for truth in dataset.ground_truth]
    assert ["do_not_answer", "do_not_answer", "xstest_safe"] == sets
    assert "do_not_answer+xstest_safe:train+test" == dataset.label
    assert "2 of do_not_answer:train, 1 of xstest_safe:test" == dataset.mix
    assert "do_not_answer Apache-2.0; xstest_safe CC-BY-4.0" == dataset.licence
    assert 2 == dataset.revision.count("local:")


def test_a_file_of_ones_own_may_be_joined(
    load: Load, copies: Path, write_file: Callable[..., str]
) -> None:
    """Each part has its own options: a plus sign in their values is no join."""
    path = write_file('{"a+b": "Bake bread", "label": "safe"}')

    dataset = load(f"do_not_answer+{path},prompt=a+b", data_root=copies)

    assert "Bake bread" == dataset.samples[-1].judged.text
    assert 3 == len(dataset)


def test_one_prompt_in_two_sets_is_one_group(
    load: Load, copies: Path, write_file: Callable[..., str]
) -> None:
    """The same prompt never stands on both sides of a split."""
    path = write_file('{"prompt": "Bomb?", "label": "unsafe"}')

    dataset = load(f"do_not_answer+{path}", data_root=copies)

    groups = [sample.group for sample in dataset.samples]
    assert groups[0] == groups[2] != groups[1]
    assert 3 == len({sample.id for sample in dataset.samples})


def test_categories_are_kept_where_one_set_has_a_policy(
    load: Load, copies: Path
) -> None:
    """A harmless row has no category of any policy; other rows are not annotated."""
    folder = copies / "declare-lab/CategoricalHarmfulQA"
    folder.mkdir(parents=True)
    row = {"Question": "x", "Category": "Adult Content", "Subcategory": "y"}
    (folder / "en.jsonl").write_text(json.dumps(row) + "\n")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "  - {split: en, path: en.jsonl}\n---\n"
    (folder / "README.md").write_text(card)

    plain = copies / "walledai/TDC23-RedTeaming"
    plain.mkdir(parents=True)
    (plain / "train.jsonl").write_text('{"prompt": "Steal"}\n')

    dataset = load("catqa+xstest_safe+tdc23_redteaming", data_root=copies)

    assert "catqa" == dataset.policy
    categories = [truth.categories for truth in dataset.ground_truth]
    assert [frozenset({"Adult Content"}), frozenset(), None] == categories


def test_categories_of_two_policies_are_left_out(
    resolve: Resolve, copies: Path, write_file: Callable[..., str]
) -> None:
    """One code of two policies may mean two things; that is said."""
    from safebench.datasets import load_dataset

    path = write_file('{"prompt": "x", "label": "unsafe", "categories": ["S1"]}')
    notes: list[str] = []
    request = resolve(f"do_not_answer+{path}", data_root=copies)

    dataset = load_dataset(request, say=notes.append)

    assert dataset.policy is None
    assert {None} == {truth.categories for truth in dataset.ground_truth}
    assert any("have different policies" in note for note in notes)


def test_sets_of_two_tasks_are_not_joined(
    error_message: Callable[..., str], copies: Path, write_file: Callable[..., str]
) -> None:
    """A prompt and an answer are judged by different questions."""
    path = write_file('{"prompt": "x", "response": "y", "label": "safe"}')

    message = error_message(f"do_not_answer+{path}", data_root=copies)

    assert "do_not_answer:train for prompt_harm" in message
    assert "set.jsonl:all for response_harm" in message


def test_an_unknown_part_is_named(resolve: Resolve) -> None:
    """The nearest set is suggested for the part that is wrong."""
    with pytest.raises(UnknownNameError, match="'xstest_saef'; did you mean 'xstest_s"):
        resolve("do_not_answer+xstest_saef")


def test_another_number_of_rows_is_said(resolve: Resolve, copies: Path) -> None:
    """What is read, what is expected, and what follows; strict data refuses it."""
    request = resolve("do_not_answer", data_root=copies)
    report = LoadReport(revision="local:abc", rows_read=2)

    check_expectations(request, report)

    assert 1 == len(report.notes)
    assert "2 rows are read where the set has 939" in report.notes[0]
    with pytest.raises(DataError, match="--strict-data takes no other number"):
        check_expectations(replace(request, strict=True), report)


@pytest.mark.parametrize("rows", [939, 0])
def test_the_expected_rows_and_files_of_ones_own_pass(
    resolve: Resolve, rows: int
) -> None:
    """No note for 939 rows, nor for a set that nothing is known about."""
    report = LoadReport(rows_read=rows)

    check_expectations(resolve("do_not_answer" if rows else "mine.jsonl"), report)

    assert [] == report.notes


@pytest.mark.parametrize(
    ("text", "revisions", "is_refused"),
    [
        ("or_bench", {}, True),
        ("or_bench", {"or_bench": COMMIT}, False),
        ("or_bench", {"bench-llm/or-bench": COMMIT}, False),
        ("or_bench", {"": COMMIT}, False),
        ("or_bench", {"or_bench": "main"}, True),
        ("or_bench", {"xstest": COMMIT}, True),
        ("do_not_answer", {}, False),
        ("org/set:test", {}, True),
        ("mine.jsonl", {}, False),
    ],
)
def test_strict_data_asks_for_a_commit(
    resolve: Resolve,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    revisions: dict[str, str],
    *,
    is_refused: bool,
) -> None:
    """A branch may move; a commit of the catalog or of the user does not."""
    monkeypatch.delenv("SAFEBENCH_DATA", raising=False)
    request = resolve(text, strict=True, revisions=revisions)

    if is_refused:
        with pytest.raises(OptionError, match="--revision"):
            require_revision(request)
    else:
        require_revision(request)


def test_a_local_copy_is_known_by_its_fingerprint(
    resolve: Resolve, copies: Path
) -> None:
    """Strict data asks no commit of a folder."""
    require_revision(resolve("xstest_safe", data_root=copies, strict=True))


def test_the_one_file_of_a_copy_is_taken_and_said(
    resolve: Resolve, copies: Path
) -> None:
    """A file that was fetched alone lost the name of its split."""
    from safebench.datasets import load_dataset

    folder = copies / "Bertievidgen/SimpleSafetyTests"
    folder.mkdir(parents=True)
    (folder / "sst.csv").write_text("id,prompt,harm_area\na,Bomb?,\n")
    notes: list[str] = []

    dataset = load_dataset(
        resolve("simple_safety_tests", data_root=copies), say=notes.append
    )

    assert "test" == dataset.split
    assert any("train is read for test" in note for note in notes)


def test_two_files_are_never_taken_for_one_split(
    error_message: Callable[..., str], copies: Path
) -> None:
    """Which of both would be meant is not known."""
    folder = copies / "Bertievidgen/SimpleSafetyTests"
    folder.mkdir(parents=True)
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("id,prompt,harm_area\na,Bomb?,\n")

    message = error_message("simple_safety_tests", data_root=copies)

    assert "no split 'test'" in message


def test_a_copy_of_another_organisation_is_taken_and_said(
    resolve: Resolve, copies: Path
) -> None:
    """The name of the set is what a copy is known by."""
    from safebench.datasets import load_dataset

    (copies / "LibrAI").rename(copies / "Mirror")
    notes: list[str] = []

    load_dataset(resolve("do_not_answer", data_root=copies), say=notes.append)

    assert any("no copy of LibrAI/do-not-answer, so Mirror/do" in n for n in notes)


def test_an_unknown_label_is_refused(
    error_message: Callable[..., str], copies: Path
) -> None:
    """A word that the set is not known to say is no negative."""
    folder = copies / "walledai/SGXSTest"
    folder.mkdir(parents=True)
    row = {"prompt": "x", "label": "unsaf", "category": "y"}
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")

    message = error_message("sgxstest", data_root=copies)

    assert "label is 'unsaf'" in message
    assert "did you mean 'unsafe'" in message


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("Bomb?,1\nCake?,0", "Bomb?,1\nCake?,0", "holds the same rows as a.csv:all"),
        ("Bomb?,1\nCake?,0", "Bomb?,1\nBread?,0", "1 conversation stands in more"),
        ("A,1\nB,1\nC,0", "C,0\nB,1\nA,1", "3 conversations stand in more"),
        ("Bomb?,1", "Bomb?,0", "1 conversation stands in more"),
        ("Bomb?,1", "Cake?,0", ""),
    ],
)
def test_rows_of_several_sets_are_counted_and_whole_sets_named_once(
    tmp_path: Path,
    resolve: Resolve,
    first: str,
    second: str,
    message: str,
) -> None:
    """What stands twice weighs twice."""
    for name, rows in (("a", first), ("b", second)):
        (tmp_path / f"{name}.csv").write_text(f"prompt,label\n{rows}\n")
    request = resolve(f"{tmp_path / 'a.csv'}+{tmp_path / 'b.csv'}")
    said: list[str] = []

    try:
        load_dataset(request, say=said.append)
    except DataError as error:
        said.append(error.message)

    assert bool(message) == any("same rows" in s or "in more than" in s for s in said)
    assert any(message in line for line in [*said, ""])


def test_a_class_is_never_taken_for_another(
    error_message: Callable[..., str], copies: Path
) -> None:
    """``safe`` is a part of the word unsafe, and its opposite."""
    folder = copies / "giskardai/realharm/data"
    folder.mkdir(parents=True)
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "agent", "content": "Go away"},
    ]
    row = {"conversation": turns, "source": "x", "language": "en"}
    (folder / "unsafe-00000-of-00001.jsonl").write_text(json.dumps(row) + "\n")

    message = error_message("realharm:safe", data_root=copies)

    assert "no split 'safe'" in message
