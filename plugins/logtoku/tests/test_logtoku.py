"""LogTokU: numbers by hand, the effect of evidence, and what has no value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma

from safebench.errors import OptionError
from safebench.evidence import GreedyPath
from safebench.evidence.base import EvidenceBundle
from safebench.lazy import import_object
from safebench.strategies.base import Context, Judgements
from safebench_logtoku import plugin
from safebench_logtoku.dirichlet import (
    aleatoric_uncertainty,
    epistemic_over_aleatoric,
    epistemic_uncertainty,
    token_reliability,
)
from safebench_logtoku.strategy import LogTokUOptions, logtoku


def path(
    *samples: list[list[float]], labels: Any = None, names: Any = ()
) -> GreedyPath:
    """Return greedy paths whose tokens have given largest logits."""
    logits = np.array([token for sample in samples for token in sample])
    count = len(logits)
    arrays = {
        "token": np.zeros(count),
        "logp": np.zeros(count),
        "top_ids": np.zeros(logits.shape),
        "top_logp": np.zeros(logits.shape),
        "logits": logits,
    }
    if labels is not None:
        arrays["label_logits"] = np.array(labels)
    return GreedyPath(
        arrays,
        offsets={"T": np.cumsum([0, *map(len, samples)])},
        meta={"labels": list(names)},
        size=len(samples),
    )


def read(evidence: GreedyPath, policy: Any = None, **options: Any) -> Judgements:
    """Judge greedy paths."""
    settings = LogTokUOptions(**options)
    context = Context(task="prompt_harm", policy=policy, options=settings)
    return logtoku(EvidenceBundle({GreedyPath: evidence}), context)


def test_by_hand() -> None:
    """Alpha (3, 1): AU = 3/4 (1/4) + 1/4 (1/2 + 1/3 + 1/4) = 11/24, EU = 1/3."""
    alpha = np.array([3.0, 1.0])

    assert_allclose(11 / 24, aleatoric_uncertainty(alpha))
    assert_allclose(1 / 3, epistemic_uncertainty(alpha))
    assert_allclose(-11 / 72, token_reliability(alpha, rectify=False))
    assert_allclose(8 / 11, epistemic_over_aleatoric(alpha))
    assert_allclose(-11 / 48, token_reliability(np.array([2.0, 0.0]), rectify=True))
    assert_allclose(-1 / 2, token_reliability(np.array([-3.0, -4.0]), rectify=True))


@pytest.mark.parametrize("k", [2, 5])
def test_against_the_formula(k: int) -> None:
    """A loop over tokens and their k largest logits gives the same."""
    rng = np.random.default_rng(k)
    logits = np.sort(rng.uniform(0.1, 30, (6, 8)))[:, ::-1]
    result = []
    for row in logits[:, :k]:
        total = row.sum()
        au = -sum(a / total * (digamma(a + 1) - digamma(total + 1)) for a in row)
        result.append(au * k / (total + k))

    expected = np.mean(result)
    assert_allclose([expected], read(path(logits.tolist()), k=k).uncertainty, rtol=1e-5)


def test_a_response_is_as_good_as_its_25_worst_tokens() -> None:
    """Of 30 tokens the five most reliable do not count; of three, all do."""
    tokens = [[float(i), float(i)] for i in range(1, 31)]
    unreliability = -token_reliability(np.array(tokens), rectify=False)
    result = read(path(tokens, tokens[:3]))

    assert_allclose(
        [np.sort(unreliability)[5:].mean(), unreliability[:3].mean()],
        result.uncertainty,
        rtol=1e-6,
    )


@given(
    st.lists(st.floats(0, 40), min_size=2, max_size=6),
    st.floats(0, 1),
)
def test_less_evidence_is_never_more_reliable(
    evidence: list[float], scale: float
) -> None:
    """Rectified: shrinking all evidence alike never raises reliability."""
    full = np.array(evidence)
    more, less = (token_reliability(full * s, rectify=True) for s in (1.0, scale))

    assert less <= more + 1e-12


@given(
    st.lists(st.floats(1, 40), min_size=2, max_size=6),
    st.floats(0, 1),
)
def test_less_literal_evidence_is_not_more_reliable_either(
    evidence: list[float], scale: float
) -> None:
    """Taken as they are, logits behave so as long as they are at least 1."""
    full, least = np.array(evidence), 1 / min(evidence)
    less = full * (least + scale * (1 - least))

    assert (
        token_reliability(less, rectify=False)
        <= token_reliability(full, rectify=False) + 1e-12
    )


def test_no_evidence_is_not_sure() -> None:
    """Negative logits have no literal value, and rectified the least reliability."""
    evidence = path([[-3.0, -4.0]], [[9.0, 8.0], [5.0, 0.0]], [[9.0, 8.0]])
    literal, rectified = read(evidence), read(evidence, variant="edl")

    assert [True, True, False] == [error is not None for error in literal.errors]
    assert [True, True, False] == np.isnan(literal.uncertainty).tolist()
    assert [None] * 3 == rectified.errors
    assert rectified.uncertainty is not None
    assert_allclose(0.5, rectified.uncertainty[0])
    assert rectified.uncertainty.argmax() == 0


def test_label_logits_are_evidence_too() -> None:
    """Label variant: EU / AU of the two largest labels, whose logits are categories."""
    logits = [[3.0, 1.0, 0.5], [3.0, -1.0, -2.0], [3.0, 1.0, np.nan]]
    evidence = path(*[[[9.0, 8.0]]] * 3, labels=logits, names=["S1", "S2", "S3"])
    result = read(evidence, variant="label")

    assert_allclose([8 / 11, np.nan, np.nan], result.uncertainty)
    assert_array_equal(logits, result.categories)
    assert not result.probability
    assert [None, "n/a: a logit", "n/a: labels do"] == [
        error and error[: {1: 12, 2: 14}[i]] for i, error in enumerate(result.errors)
    ]


def test_label_columns_follow_the_policy() -> None:
    """Codes are in the policy's order; those that the guard cannot say are unknown."""

    class Policy:
        codes = ("S2", "S9", "S1")

    evidence = path([[9.0, 8.0]], labels=[[3.0, 1.0]], names=["S1", "S2"])
    result = read(evidence, policy=Policy(), variant="label")

    assert ("S2", "S9", "S1") == tuple(result.labels)
    assert_array_equal([[1.0, np.nan, 3.0]], result.categories)
    assert_allclose([8 / 11], result.uncertainty)


def test_what_was_not_recorded_is_refused() -> None:
    """More logits than recorded, or labels that were not, are the user's mistake."""
    with pytest.raises(OptionError, match="k: 3 logits, but 2 recorded"):
        read(path([[9.0, 8.0]]), k=3)
    with pytest.raises(OptionError, match="no logits of labels"):
        read(path([[9.0, 8.0]]), variant="label")
    with pytest.raises(ValueError, match="k is 1, not 2 or more"):
        LogTokUOptions(k=1)


def test_a_guard_without_labels_has_no_label_evidence() -> None:
    """A yes/no guard cannot be asked for its labels' logits."""
    evidence = path([[9.0, 8.0]], labels=np.empty((1, 0)))
    result = read(evidence, variant="label")

    assert result.categories is None
    assert result.errors[0] is not None


def test_no_tokens_have_no_value() -> None:
    """A verdict of no tokens is an error, not certainty."""
    result = read(path([[9.0, 8.0]], []))

    assert result.errors[0] is None
    assert result.errors[1] == "n/a: the greedy verdict has no tokens"


def test_the_declared_strategy_exists() -> None:
    """One strategy, that reads raw logits and gives no score."""
    (spec,) = plugin.safebench_strategies()

    assert "logtoku" == spec.name
    assert {"categories", "uncertainty"} == spec.emits
    assert {GreedyPath: frozenset({"logits"})} == spec.needs
    assert logtoku is import_object(spec.load)
    assert LogTokUOptions is import_object(spec.options)
