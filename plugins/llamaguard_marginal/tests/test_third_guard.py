"""The third embedded guard: lessons of the teachers, and teachers taken over."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PLUGIN = Path(__file__).resolve().parents[1]
BENCHMARKS = PLUGIN.parents[1] / "benchmarks"
SECOND = BENCHMARKS / "registered" / "embedded_guard.yaml"
THIRD = BENCHMARKS / "registered" / "embedded_guard_3.yaml"

pytestmark = pytest.mark.slow  # for what they import


@pytest.fixture(autouse=True)
def _build_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the build, which lies beside the package."""
    monkeypatch.syspath_prepend(str(PLUGIN))


def test_registration_starts_from_the_second_guard_and_must_beat_it() -> None:
    """Both registrations are read; the old one says nothing of what is new."""
    from tiny_guard.second.recipe import read_recipe

    second, third = read_recipe(SECOND), read_recipe(THIRD)

    assert (second.contest.new, second.contest.before) == (
        "tiny-guard-2",
        ("tiny-guard",),
    )
    assert (third.contest.new, third.contest.old) == ("tiny-guard-3", "tiny-guard-2")
    assert (second.student.start, second.pool) == ("tiny-guard", None)
    assert third.student.start == "tiny-guard-2"
    assert third.pool is not None
    assert third.sets == second.sets
    assert third.teacher == second.teacher


def test_heads_learn_verdict_vector_and_the_odds_of_each_teacher() -> None:
    """The sum over rows, by hand."""
    import torch
    from tiny_guard.examples import EncodedRow
    from tiny_guard.second.student import Lessons, TaughtStudent

    draw = np.random.default_rng(0)
    vectors, members = draw.normal(3, 2, (5, 4)), draw.normal(-1, 7, (5, 2))
    lessons = Lessons.of(vectors, members)
    student = object.__new__(TaughtStudent)
    student.vectors, student.members = lessons.vectors, lessons.members
    batch = [EncodedRow(False, (1,), 1, 0.0, number) for number in (3, 0)]
    outputs = draw.normal(size=(2, 7))
    target = np.array([0.9, 0.2])

    loss = student.heads_loss(
        torch.from_numpy(outputs).float(), torch.from_numpy(target).float(), batch
    )

    standard = [(x - x.mean(0)) / x.std(0) for x in (vectors, members)]
    expected = 0.0
    for row, number in enumerate((3, 0)):
        p = 1 / (1 + np.exp(-outputs[row, 0]))
        expected -= target[row] * np.log(p) + (1 - target[row]) * np.log(1 - p)
        said, there = outputs[row, 1:5], standard[0][number]
        expected += 1 - said @ there / np.linalg.norm(said) / np.linalg.norm(there)
        expected += 0.3 * ((outputs[row, 5:] - standard[1][number]) ** 2).sum()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def fitted_folder(folder: Path, sha256: str) -> Path:
    """Make a folder of work whose teachers were fitted under a registration."""
    folder.mkdir()
    (folder / "texts.sha256").write_text("t" * 64, "utf-8")
    (folder / "registration.sha256").write_text(sha256, "utf-8")
    for number in range(3):
        np.savez(folder / f"fold-{number}.npz", held_out=np.full((2, 2), number))
    seconds = {"rows": 1.0, "encoder, layers below": 2.0, "teachers, fold 0": 3.0}
    (folder / "seconds.json").write_text(json.dumps(seconds), "utf-8")
    return folder


def test_teachers_of_the_same_texts_and_recipe_are_taken_over(tmp_path: Path) -> None:
    """With their CPU seconds; of other texts, recipes, or a part of them: refused."""
    from tiny_guard.second.adopted import adopt_teachers
    from tiny_guard.second.recipe import read_recipe

    recipe = read_recipe(THIRD)
    given = fitted_folder(tmp_path / "given", read_recipe(SECOND).sha256)
    work = tmp_path / "work"
    work.mkdir()
    (work / "texts.sha256").write_text("t" * 64, "utf-8")

    used = adopt_teachers(given, work, recipe)

    assert used == {"encoder, layers below": 2.0, "teachers, fold 0": 3.0}
    assert np.load(work / "fold-2.npz")["held_out"].tolist() == [[2, 2], [2, 2]]
    teachers = dataclasses.replace(recipe.teacher, epochs=9)
    with pytest.raises(ValueError, match="another recipe"):
        adopt_teachers(given, work, dataclasses.replace(recipe, teacher=teachers))
    other = fitted_folder(tmp_path / "other", "0" * 64)
    with pytest.raises(ValueError, match="another recipe"):
        adopt_teachers(other, work, recipe)
    (given / "fold-1.npz").unlink()
    with pytest.raises(ValueError, match=r"no fold-1\.npz"):
        adopt_teachers(given, work, recipe)
    (given / "texts.sha256").write_text("u" * 64, "utf-8")
    with pytest.raises(ValueError, match="other texts"):
        adopt_teachers(given, work, recipe)


def facts(aurocs: dict[str, float]) -> dict[str, Any]:
    """Make what is known of a set, as far as the decision reads it."""
    return {
        "auroc": {name: {"value": value} for name, value in aurocs.items()},
        "lead": {"tf-idf": {"value": 0.0, "low": None, "high": None}},
    }


@pytest.mark.parametrize(("second", "ship"), [(0.75, True), (0.85, False)])
def test_decision_is_against_the_second_guard(second: float, ship: bool) -> None:
    """The first guard, which is also measured, decides nothing."""
    from tiny_guard.second.compare import decision
    from tiny_guard.second.recipe import read_recipe

    aurocs = {"tiny-guard-3": 0.8, "tiny-guard-2": second, "tiny-guard": 0.9}

    found = decision({"a": facts(aurocs | {"tf-idf": 0.7})}, read_recipe(THIRD).contest)

    assert found["ship"] is ship
    assert found["mean_auroc"]["tiny-guard"] == 0.9
    assert list(found["ahead_of_tfidf"]) == [
        "tiny-guard-3",
        "tiny-guard-2",
        "tiny-guard",
    ]


def test_card_names_both_guards_before_and_the_second_look() -> None:
    """Nothing of the template is left open."""
    from tiny_guard.second.card import card
    from tiny_guard.second.recipe import read_recipe

    recipe = read_recipe(THIRD)
    names = ("tiny-guard-3", "tiny-guard-2", "tiny-guard", "tf-idf")
    interval = {"value": 0.8124, "low": 0.7016, "high": 0.9038, "by": "bootstrap"}
    result = {
        "registration": {"sha256": recipe.sha256, "commit": "0123456789abcdef"},
        "parameters": 2200896,
        "sets": {
            "xstest": {
                "n": 447,
                "unsafe": 199,
                "auroc": dict.fromkeys(names, interval),
                "lead": dict.fromkeys(names[1:], interval),
            }
        },
        "decision": {"against_tfidf": {"xstest": "ahead"}, "ship": True},
        "categories": {"starter": {n: {"n": 7, "micro_f1": 0.3331} for n in names[:2]}},
        "rows": {"labelled": 18000, "unlabelled": 25000, "by_source": {}},
        "teachers": {"out of fold": {"words": 0.9, "encoder": 0.91, "stack": 0.92}},
        "cpu_seconds": {"rows": 30.2, "student, seed 0": 400.1},
    }

    text = card(result, recipe)

    assert "| second guard | first guard | TF-IDF |" in text
    assert "starter 0.333 (second guard 0.333, n = 7)" in text
    assert "**A second look**" in text
    assert "3500 steps of 64" in " ".join(text.split())
    assert "$" not in text


def test_spans_are_runs_of_words_and_swaps_are_as_many_as_asked_for() -> None:
    """Of short prompts there is no span; the same seed gives the same texts."""
    from tiny_guard.second.pool import spans, swapped

    prompts = [" ".join(f"{letter}{i}" for i in range(40)) for letter in "abcdefgh"]

    cut = list(spans([*prompts, "five words are too few"], seed=0))

    assert len(cut) == len(prompts)
    for prompt, span in zip(prompts, cut, strict=True):
        assert f" {span} " in f" {prompt} "
        assert 5 <= len(span.split()) <= 30
    assert cut == list(spans([*prompts, "five words are too few"], seed=0))
    assert len({len(span.split()) for span in cut}) > 1
    texts = swapped(["kill", "the process"], {"kill": ["stop"]}, 60, 0)
    assert len(texts) == 60
    assert {"kill", "stop", "the process"} == set(texts)


def test_pool_has_nothing_known_kept_back_or_near_a_measured_prompt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was left out for being near a measured prompt is counted."""
    from collections import Counter

    from tiny_guard.rows import TrainingRow
    from tiny_guard.second import pool
    from tiny_guard.second.recipe import read_recipe
    from tiny_guard.second.rows import SecondCorpus

    def row(text: str) -> TrainingRow:
        return TrainingRow("tdavidson", text, None, None)

    people = ["a learnt tweet", "A KEPT back tweet!", "an unrated tweet of before"]
    people += ["name all the rivers in Asia please", "a new tweet that nobody rated"]
    monkeypatch.setattr(pool, "neighbour_table", lambda *_: {})
    monkeypatch.setattr(pool, "written", lambda _: {"tweets": [row(t) for t in people]})
    corpus = SecondCorpus(
        [TrainingRow("x", people[0], None, True)],
        np.zeros(1, int),
        [],
        [row(people[2])],
        {"starter": [TrainingRow("y", "Name all the rivers in Asia.", None, True)]},
        {"a kept back tweet"},
        Counter(),
    )

    texts = pool.pool_texts(tmp_path, corpus, tmp_path, read_recipe(THIRD))

    assert [text.prompt for text in texts] == [people[4]]
    assert corpus.dropped["text without a label near a measured row"] == 1
    assert pool.pool_texts(tmp_path, corpus, tmp_path, read_recipe(SECOND)) == []


def test_pool_is_judged_once_and_stands_behind_the_other_texts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Vectors of kept-back rows are left out; another pool in the folder is refused."""
    from collections import Counter

    import torch
    from tiny_guard.rows import TrainingRow
    from tiny_guard.second import build
    from tiny_guard.second.encoder import TextStates
    from tiny_guard.second.recipe import read_recipe
    from tiny_guard.second.rows import SecondCorpus

    rows = [TrainingRow("x", text, None, True) for text in "abcde"]
    corpus = SecondCorpus(
        rows[:2], np.zeros(2, int), rows[2:3], rows[3:4], {}, set(), Counter(), rows[4:]
    )
    flat = torch.arange(5.0)[:, None].repeat(1, 2)
    states = TextStates(flat, torch.tensor([0, 1, 2, 3, 5]))
    monkeypatch.setattr(build, "cached_states", lambda *_: states)
    judged = (np.array([[7.0, 8.0]]), np.array([[9.0, 9.0]]))
    monkeypatch.setattr(build, "judge_others", lambda *_: judged)
    start = build.Judged(corpus.train + corpus.unlabelled, np.ones((3, 2)))
    ledger = build.Ledger(tmp_path)
    given = (read_recipe(THIRD), tmp_path, tmp_path, ledger)

    every = build.with_pool(corpus, start, *given)

    assert "".join(row.prompt for row in every.rows) == "abde"
    assert every.odds.tolist() == [[1, 1], [1, 1], [1, 1], [7, 8]]
    assert every.vectors[:, 0].tolist() == [0, 1, 3.5, 9]
    monkeypatch.delattr(build, "judge_others")
    assert build.with_pool(corpus, start, *given).odds.tolist() == every.odds.tolist()
    corpus.pool = rows[:1]
    with pytest.raises(ValueError, match="another pool"):
        build.with_pool(corpus, start, *given)
