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
    assert "1200 steps of 64" in " ".join(text.split())
    assert "$" not in text
