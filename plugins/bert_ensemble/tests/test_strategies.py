"""Pools and uncertainties against hand-computed tables, identities and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from safebench.errors import IncompatibleError, OptionError
from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.strategies import Context
from safebench.testing import assert_strategy_is_sound
from safebench_bert_ensemble.options import PoolOptions, VoteOptions
from safebench_bert_ensemble.strategies import ensemble, formulas

TASK = Context(task="prompt_harm")
NAMES = (
    "mean_logits",
    "mean_probs",
    "logit_mean_entropy",
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "vote_entropy",
    "variation_ratio",
    "member_std",
)


def batch(
    margins: list[list[float]], windows: list[int] | None = None
) -> EvidenceBundle:
    """Return evidence from members' margins (harmful minus safe), a row a window."""
    z = np.asarray(margins, dtype=float)
    counts = windows or [1] * len(z)
    logits = np.stack([np.zeros_like(z), z], axis=-1)
    meta = {
        "link": "softmax",
        "classes": ["safe", "harmful"],
        "tasks": {"safe": ["prompt_harm", -1], "harmful": ["prompt_harm", 1]},
        "members": [f"m{i}" for i in range(z.shape[1])],
    }
    offsets = {"W": np.cumsum([0, *counts])}
    return EvidenceBundle(
        {MemberLogits: MemberLogits({"logits": logits}, offsets=offsets, meta=meta)}
    )


def value(name: str, margins: list[float]) -> float:
    """Return a strategy's score or uncertainty of one sample."""
    judgements = getattr(ensemble, name)(batch([margins]), TASK)
    column = (
        judgements.score if judgements.score is not None else judgements.uncertainty
    )
    return float(column[0])


@pytest.mark.parametrize(
    ("margins", "pooled", "pooled_entropy", "mean", "total", "information"),
    [
        ([6, 6, 6, 6, 6, -1], 0.992, 0.046, 0.876, 0.375, 0.263),
        ([6, 6, 6, 6, 6, -6], 0.982, 0.090, 0.832, 0.453, 0.436),
        ([5, 5, 5, -5, -5, -5], 0.500, 0.693, 0.500, 0.693, 0.653),
        ([0, 0, 0, 0, 0, 0], 0.500, 0.693, 0.500, 0.693, 0.000),
    ],
)
def test_pools_and_entropies_are_those_of_the_table(
    margins: list[float],
    pooled: float,
    pooled_entropy: float,
    mean: float,
    total: float,
    information: float,
) -> None:
    """Four sets of six members, worked out by hand to three digits."""
    assert pooled == pytest.approx(value("mean_logits", margins), abs=6e-4)
    assert pooled_entropy == pytest.approx(
        value("logit_mean_entropy", margins), abs=6e-4
    )
    assert mean == pytest.approx(value("mean_probs", margins), abs=6e-4)
    assert total == pytest.approx(value("predictive_entropy", margins), abs=6e-4)
    assert information == pytest.approx(value("mutual_information", margins), abs=6e-4)


def test_votes_and_spread_are_those_worked_out_by_hand() -> None:
    """One of six against: 1/6, its entropy, and the spread of five p and one q."""
    margins = [6.0, 6.0, 6.0, 6.0, 6.0, -6.0]
    p, q = 1 / (1 + np.exp(-6)), 1 / (1 + np.exp(6))

    assert 1 / 6 == pytest.approx(value("variation_ratio", margins))
    assert 0.4505612 == pytest.approx(value("vote_entropy", margins))
    assert (p - q) * np.sqrt(5) / 6 == pytest.approx(value("member_std", margins))


@pytest.mark.parametrize(
    ("at", "ratio"), [(0.5, 0.0), (0.2, 2 / 6), (0.1, 0.0), (0.3, 0.0), (0.24, 2 / 6)]
)
def test_votes_turn_where_the_option_says(at: float, ratio: float) -> None:
    """Two members at 0.25 and four at 0.12: they part between these alone."""
    p = np.array([0.25, 0.12, 0.12, 0.25, 0.12, 0.12])
    entropy = -sum(x * np.log(x) for x in (ratio, 1 - ratio) if x)

    evidence = batch([np.log(p / (1 - p)).tolist()])
    context = Context(task="prompt_harm", options=VoteOptions(at=at))
    ratios = ensemble.variation_ratio(evidence, context).uncertainty
    entropies = ensemble.vote_entropy(evidence, context).uncertainty
    assert ratios is not None
    assert entropies is not None
    assert [ratio] == pytest.approx(ratios.tolist())
    assert [entropy] == pytest.approx(entropies.tolist())


def test_a_vote_turns_between_0_and_1() -> None:
    """A place that no probability can be on either side of is refused."""
    with pytest.raises(OptionError, match="at=1: a vote turns between 0 and 1"):
        VoteOptions(at=1.0)


def test_entropy_of_pooled_logits_hides_a_member_that_disagrees() -> None:
    """A lone dissenter: the pooled logits stay sure, mutual information speaks up."""
    agreed, dissent = [4.0] * 6, [6.0, 6.0, 6.0, 6.0, 6.0, -6.0]

    # both pools put the same mean logit, so the pooled entropy cannot tell them apart
    assert value("logit_mean_entropy", agreed) == value("logit_mean_entropy", dissent)
    assert value("mutual_information", agreed) == pytest.approx(0, abs=1e-12)
    assert value("mutual_information", dissent) > 0.4


@pytest.mark.slow
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9))
def test_total_uncertainty_is_noise_plus_disagreement(margins: list[float]) -> None:
    """H(mean) = mean H + mutual information, never negative; entropies by SciPy."""
    p = 1 / (1 + np.exp(-np.asarray(margins, dtype=np.float32).astype(float)))
    mean = p.mean()
    total = stats.entropy([mean, 1 - mean])
    expected = np.mean([stats.entropy([x, 1 - x]) for x in p])
    information = value("mutual_information", margins)

    assert total == pytest.approx(value("predictive_entropy", margins), abs=1e-9)
    assert expected == pytest.approx(value("expected_entropy", margins), abs=1e-9)
    assert total == pytest.approx(expected + information, abs=1e-9)
    assert information >= 0


@pytest.mark.slow
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=6))
def test_mean_logits_is_the_normalised_geometric_mean(margins: list[float]) -> None:
    """Softmax of mean logits is the geometric mean of probabilities, renormalised."""
    p = 1 / (1 + np.exp(-np.asarray(margins, dtype=np.float32).astype(float)))
    yes, no = stats.gmean(p), stats.gmean(1 - p)

    assert yes / (yes + no) == pytest.approx(value("mean_logits", margins), abs=1e-9)


def test_one_member_has_no_disagreement() -> None:
    """Alone, a member's pools are the same, and only its own entropy is left."""
    assert value("mean_logits", [1.5]) == pytest.approx(value("mean_probs", [1.5]))
    assert value("mutual_information", [1.5]) == 0
    assert value("member_std", [1.5]) == 0
    assert value("expected_entropy", [1.5]) == value("predictive_entropy", [1.5])


def test_several_harmful_classes_count_with_their_joint_mass() -> None:
    """Three classes, two of them harmful: their probabilities add up."""
    logits = np.log([[0.5, 0.3, 0.2]])

    p = formulas.harm_probability(logits, "softmax", np.array([-1.0, 1.0, 1.0]))

    assert [0.5] == pytest.approx(p)


def test_labels_of_their_own_count_by_the_likeliest() -> None:
    """Sigmoid: the likeliest harmful class, or one minus safe if only that is known."""
    logits = np.array([[0.0, 2.0, -1.0]])
    sigmoid_2 = 1 / (1 + np.exp(-2))

    p = formulas.harm_probability(logits, "sigmoid", np.array([1.0, 1.0, 1.0]))
    only_safe = formulas.harm_probability(logits[:, 1:2], "sigmoid", np.array([-1.0]))

    assert [sigmoid_2] == pytest.approx(p)
    assert [1 - sigmoid_2] == pytest.approx(only_safe)


@pytest.mark.parametrize(
    ("how", "expected"), [("worst", 3.0), ("first", -2.0), ("mean", 1.0)]
)
def test_windows_of_a_long_text_become_one(how: str, expected: float) -> None:
    """Three windows of one text: the worst, the first, or the mean of the logits."""
    evidence = batch([[-2.0], [3.0], [2.0], [0.5]], windows=[3, 1])
    context = Context(task="prompt_harm", options=PoolOptions(windows=how))  # type: ignore[arg-type]

    score = ensemble.mean_probs(evidence, context).score

    assert score is not None
    assert [expected, 0.5] == pytest.approx(np.log(score / (1 - score)), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_strategies_are_pure_and_judge_each_sample_alone(name: str) -> None:
    """Evidence stays as it was, and half the samples give half the judgements."""
    rng = np.random.default_rng(0)
    counts = [1, 3, 2, 1, 4]
    evidence = batch(rng.normal(0, 3, (sum(counts), 6)).tolist(), windows=counts)

    assert_strategy_is_sound(getattr(ensemble, name), evidence, TASK)


def test_members_that_answer_another_task_are_refused() -> None:
    """The message names the task that they do answer."""
    with pytest.raises(IncompatibleError, match="answer prompt_harm, not refusal"):
        ensemble.mean_probs(batch([[1.0]]), Context(task="refusal"))


@pytest.mark.slow
def test_pooling_ten_thousand_texts_takes_no_loop() -> None:
    """All nine readings of 10,000 texts with six members, in about a second."""
    import time

    rng = np.random.default_rng(0)
    evidence = batch(rng.normal(0, 3, (20_000, 6)).tolist(), windows=[2] * 10_000)
    started = time.process_time()

    for name in NAMES:
        getattr(ensemble, name)(evidence, TASK)

    assert time.process_time() - started < 3
