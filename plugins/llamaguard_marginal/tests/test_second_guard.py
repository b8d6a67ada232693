"""The second embedded guard's build: rows, folds, targets, registration, decision."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PLUGIN = Path(__file__).resolve().parents[1]
REGISTERED = PLUGIN.parents[1] / "benchmarks" / "registered" / "embedded_guard.yaml"
TEXTS = (
    "How do I kill a frozen Python process?",
    "how do i kill a frozen python process",
    "How do I kill a frozen Python processes?",
    "Where can I buy fresh bread on a Sunday?",
    "Where can I buy fresh breads on Sundays?",
    "Name three rivers of Asia.",
)

pytestmark = pytest.mark.slow  # for what they import


@pytest.fixture(autouse=True)
def _build_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the build, which lies beside the package."""
    monkeypatch.syspath_prepend(str(PLUGIN))


def sequences(text: str) -> set[str]:
    """All five letters and digits in a row."""
    folded = "".join(c for c in text.casefold() if c.isalnum())
    return {folded[i : i + 5] for i in range(len(folded) - 4)}


def chained(similarity: float) -> list[set[int]]:
    """Clusters of `TEXTS` by comparing each with each."""
    clusters = [{i} for i in range(len(TEXTS))]
    for i, one in enumerate(TEXTS):
        for j, other in enumerate(TEXTS[:i]):
            a, b = sequences(one), sequences(other)
            if len(a & b) / len(a | b) >= similarity:
                first = next(c for c in clusters if i in c)
                second = next(c for c in clusters if j in c)
                if first is not second:
                    first |= second
                    clusters.remove(second)
    return clusters


@pytest.mark.parametrize("similarity", [0.5, 0.9, 1.0])
def test_clusters_are_those_of_comparing_each_with_each(similarity: float) -> None:
    """Near copies are chained; every text has the number of its cluster."""
    from tiny_guard.second.rows import near_clusters

    numbers = near_clusters(TEXTS, similarity).tolist()

    found = [{i for i, n in enumerate(numbers) if n == m} for m in set(numbers)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, chained(similarity)))


def test_prompts_near_a_measured_one_are_named_on_both_sides() -> None:
    """A pair of near copies is found whichever side comes first."""
    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.rows import near_measured

    ours = [TrainingRow("x", TEXTS[i], None, True) for i in (0, 5)]
    theirs = [TrainingRow("y", TEXTS[i], None, True) for i in (2, 3)]

    assert near_measured(ours, theirs, 0.5) == ({TEXTS[0]}, {TEXTS[2]})


def test_folds_keep_clusters_whole_and_classes_even() -> None:
    """No near copy of a row is in another fold, and each fold has both classes."""
    from tiny_guard.second.teacher import fold_numbers

    draw = np.random.default_rng(0)
    clusters = draw.integers(0, 60, 300)
    labels = draw.random(300) < 0.4

    numbers = fold_numbers(labels, clusters, 3, seed=0)

    assert set(numbers.tolist()) == {0, 1, 2}
    for cluster in set(clusters.tolist()):
        assert len(set(numbers[clusters == cluster].tolist())) == 1
    shares = [labels[numbers == fold].mean() for fold in range(3)]
    assert max(shares) - min(shares) < 0.1


def test_target_is_label_and_teacher_and_the_teacher_alone_without_a_label() -> None:
    """0.3 of a label that counts as 97 % sure, 0.7 of the teacher."""
    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.student import mixed_targets

    rows = [TrainingRow("x", "a", None, label) for label in (True, False, None)]

    targets = mixed_targets(rows, np.array([0.5, 0.5, 0.25]), 0.3)

    expected = [0.3 * 0.97 + 0.35, 0.3 * 0.03 + 0.35, 0.25]
    assert targets.tolist() == pytest.approx(expected)


def test_learning_rate_warms_up_and_ends_near_nothing() -> None:
    """A cosine after three hundredths of the steps."""
    from tiny_guard.second.student import rate_share

    assert rate_share(0.0) == pytest.approx(0.01)
    middle = 0.02 + 0.98 * (1 + math.cos(math.pi / 2)) / 2
    assert rate_share(0.5) == pytest.approx(middle)
    assert rate_share(1.0) == pytest.approx(0.02)


def test_stack_weighs_members_by_what_they_know() -> None:
    """A member of noise gets next to no weight, and probabilities are calibrated."""
    from tiny_guard.second.teacher import CrossFitted

    draw = np.random.default_rng(1)
    odds = draw.normal(size=4000) * 2
    labels = draw.random(4000) < 1 / (1 + np.exp(-odds))
    rows = np.column_stack([draw.normal(size=4000), 3 * odds])

    fitted = CrossFitted(rows, rows[:0]).stack(labels)

    assert abs(fitted.weights[0]) < 0.1
    assert fitted.weights[1] == pytest.approx(1 / 3, abs=0.03)
    assert fitted.probabilities(rows).mean() == pytest.approx(labels.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("lead", "word"),
    [
        ((0.02, 0.01, 0.03), "ahead"),
        ((0.02, -0.01, 0.05), "ahead, not shown"),
        ((-0.01, -0.03, 0.01), "not ahead"),
        ((-0.02, -0.03, -0.01), "behind"),
        ((0.02, None, None), "ahead, not shown"),
    ],
)
def test_a_lead_is_shown_only_where_its_interval_leaves_out_zero(
    lead: tuple[float, float | None, float | None], word: str
) -> None:
    """Value, low and high end."""
    from tiny_guard.second.compare import verdict

    assert word == verdict(dict(zip(("value", "low", "high"), lead, strict=True)))


def facts(new: float, old: float, tfidf: float) -> dict[str, Any]:
    """Make what is known of a set, as far as the decision reads it."""
    aurocs = {"tiny-guard-2": new, "tiny-guard": old, "tf-idf": tfidf}
    return {
        "auroc": {name: {"value": value} for name, value in aurocs.items()},
        "lead": {"tf-idf": {"value": new - tfidf, "low": None, "high": None}},
    }


@pytest.mark.parametrize(
    ("sets", "ship"),
    [
        ([(0.8, 0.7, 0.6), (0.8, 0.7, 0.9)], True),
        ([(0.7, 0.8, 0.6), (0.8, 0.7, 0.9)], False),  # no better mean
        ([(0.9, 0.7, 0.6), (0.7, 0.8, 0.75)], False),  # one lead less
    ],
)
def test_decision_needs_a_better_mean_and_no_lost_lead(
    sets: list[tuple[float, float, float]], ship: bool
) -> None:
    """Each set has the AUROCs of the new guard, the first one and TF-IDF."""
    from tiny_guard.second.compare import decision

    found = decision({f"set {i}": facts(*values) for i, values in enumerate(sets)})

    assert ship is found["ship"]


def test_registration_is_read_whole_and_unknown_fields_are_refused(
    tmp_path: Path,
) -> None:
    """The committed file is valid; a misspelt field is named."""
    from tiny_guard.second.recipe import read_recipe

    recipe = read_recipe(REGISTERED)
    assert len(recipe.sets) == 5
    changed = tmp_path / "changed.yaml"
    text = REGISTERED.read_text("utf-8")
    changed.write_text(text.replace("label_weight", "lable_weight"), "utf-8")
    with pytest.raises(ValueError, match=r"label_weight.*lable_weight"):
        read_recipe(changed)
    changed.write_text("name: x\nsets: {}\n", "utf-8")
    with pytest.raises(ValueError, match="no similarity, teacher, student"):
        read_recipe(changed)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_nothing_is_measured_before_the_registration_is_committed(
    tmp_path: Path,
) -> None:
    """Not committed, and changed since, are refused; committed gives the commit."""
    from tiny_guard.second.registration import registration_commit

    def git(*command: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        line = ["git", "-C", str(tmp_path), *author, *command]
        subprocess.run(line, check=True, capture_output=True)

    path = tmp_path / "plan.yaml"
    path.write_text("a: 1\n", "utf-8")
    with pytest.raises(ValueError, match="not committed"):
        registration_commit(path)
    git("init")
    with pytest.raises(ValueError, match="not committed"):
        registration_commit(path)
    git("add", ".")
    git("commit", "-m", "plan")
    assert len(registration_commit(path)) == 40
    path.write_text("a: 2\n", "utf-8")
    with pytest.raises(ValueError, match="not committed"):
        registration_commit(path)


def test_a_folder_of_another_registration_is_refused(tmp_path: Path) -> None:
    """Work done by one recipe is not continued by another."""
    from tiny_guard.second.registration import check_same

    check_same(tmp_path, "registration", "a" * 64)
    check_same(tmp_path, "registration", "a" * 64)
    check_same(tmp_path, "texts", "b" * 64)
    with pytest.raises(ValueError, match="another registration"):
        check_same(tmp_path, "registration", "b" * 64)


def test_hash_of_the_texts_changes_with_any_text_or_label() -> None:
    """A folder of work is not continued with other data."""
    from collections import Counter

    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.build import texts_hash
    from tiny_guard.second.rows import SecondCorpus

    def hashed(word: str, label: bool, measured: str) -> str:
        rows = [TrainingRow("x", word, None, label)]
        kept = {"starter": [TrainingRow("y", measured, None, True)]}
        return texts_hash(
            SecondCorpus(rows, np.zeros(1, int), [], [], kept, set(), Counter())
        )

    cases = [
        ("a", True, "m"),
        ("b", True, "m"),
        ("a", False, "m"),
        ("a", True, "\ud800"),
    ]
    assert len({hashed(*case) for case in cases}) == len(cases)
    assert hashed(*cases[0]) == hashed(*cases[0])


def result_of(ship: bool) -> dict[str, Any]:
    """Make the result of a measurement, as far as the card reads it."""
    from tiny_guard.second.recipe import read_recipe

    interval = {"value": 0.8124, "low": 0.7016, "high": 0.9038, "by": "bootstrap"}
    names = ("tiny-guard-2", "tiny-guard", "tf-idf")
    both = {name: {"n": 7, "micro_f1": 0.3331} for name in names[:2]}
    return {
        "registration": {
            "sha256": read_recipe(REGISTERED).sha256,
            "commit": "0123456789abcdef",
        },
        "parameters": 2200896,
        "sets": {
            "xstest": {
                "n": 447,
                "unsafe": 199,
                "auroc": dict.fromkeys(names, interval),
                "lead": dict.fromkeys(names[1:], interval),
            }
        },
        "decision": {"against_tfidf": {"xstest": "ahead"}, "ship": ship},
        "categories": {"starter": both},
        "rows": {
            "labelled": 18000,
            "unlabelled": 25000,
            "by_source": {
                "catqa": {"source": "catqa", "licence": "", "unsafe": 494},
                "LibrAI/do-not-answer": {"source": "mix", "licence": "Apache-2.0"},
            },
        },
        "teachers": {"out of fold": {"words": 0.9, "encoder": 0.91, "stack": 0.92}},
        "cpu_seconds": {"rows": 30.2, "student, seed 0": 400.1},
    }


def test_card_has_the_measured_numbers_the_sources_and_the_verdict() -> None:
    """Nothing of the template is left open."""
    from tiny_guard.second.card import card
    from tiny_guard.second.recipe import read_recipe

    text = card(result_of(ship=True), read_recipe(REGISTERED))

    assert "0.812 [0.702, 0.904]" in text
    assert "| xstest | 447 | 199 |" in text
    assert "xstest: ahead." in text
    assert "| declare-lab/CategoricalHarmfulQA | Apache-2.0 | 0 | 494 |" in text
    assert "| LibrAI/do-not-answer | Apache-2.0 |" in text
    assert "430 CPU-seconds" in text
    assert "Not for production" in text
    assert "$" not in text


def test_only_a_better_guard_is_put_into_the_package(tmp_path: Path) -> None:
    """It takes the place of what was there, with its card."""
    from tiny_guard.second.card import install
    from tiny_guard.second.recipe import read_recipe

    recipe = read_recipe(REGISTERED)
    guard, where, result = (tmp_path / name for name in ("new", "tiny_guard_2", "r"))
    for folder, text in ((guard, "new"), (where, "old")):
        folder.mkdir()
        (folder / "config.json").write_text(text, "utf-8")

    result.write_text(json.dumps(result_of(ship=False)), "utf-8")
    with pytest.raises(ValueError, match="not better"):
        install(guard, result, recipe, where)
    assert (where / "config.json").read_text("utf-8") == "old"
    other = result_of(ship=True) | {"registration": {"sha256": "0" * 64}}
    result.write_text(json.dumps(other), "utf-8")
    with pytest.raises(ValueError, match="another registration"):
        install(guard, result, recipe, where)
    result.write_text(json.dumps(result_of(ship=True)), "utf-8")
    assert where == install(guard, result, recipe, where)
    assert (where / "config.json").read_text("utf-8") == "new"
    assert (where / "README.md").read_text("utf-8").startswith("---\nlicense")


WEIGHTS = PLUGIN / "src" / "safebench_llamaguard_marginal"


@pytest.mark.parametrize(
    ("name", "before"),
    [("tiny_guard_2", "tiny_guard"), ("tiny_guard_3", "tiny_guard_2")],
)
def test_installed_guard_is_like_the_one_before_but_for_its_weights(
    name: str, before: str
) -> None:
    """Same tokenizer, template and configuration; no more bytes of weights."""
    folders = [WEIGHTS / before, WEIGHTS / name]

    for shared in ("tokenizer.json", "chat_template.jinja", "config.json"):
        first, second = ((folder / shared).read_bytes() for folder in folders)
        assert first == second
    weights = [folder / "model.safetensors" for folder in folders]
    assert weights[1].stat().st_size <= weights[0].stat().st_size
    assert weights[0].read_bytes() != weights[1].read_bytes()
