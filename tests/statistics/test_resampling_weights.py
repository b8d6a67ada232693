"""Resamples of groups as weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.statistics import default_n_resamples, shared_weights
from safebench.statistics.resampling_weights import draw_weights

if TYPE_CHECKING:
    from conftest import Grouped


def test_draws_are_resamples_of_groups(data: Grouped) -> None:
    """Each draw holds as many groups as there are; each leave-out lacks one."""
    drawn = draw_weights(data.groups, len(data.y), n_resamples=300, seed=2)
    sampled, left_out = drawn.weights[:, 1:301], drawn.weights[:, 301:]

    assert (drawn.n_groups, drawn.n_groups) == left_out.shape
    assert np.all(drawn.n_groups == sampled.sum(axis=0))
    assert np.all(drawn.n_groups - 1 == left_out.sum(axis=0))
    assert np.all(drawn.n_groups - 1 == left_out.sum(axis=1))
    assert 1 == pytest.approx(sampled.mean(), abs=1e-9)
    assert 1 - 1 / drawn.n_groups == pytest.approx(sampled.var(), rel=0.05)


def test_many_groups_are_left_out_in_blocks() -> None:
    """Of 1,000 groups, 200 leave-out samples lack five each, every group once."""
    left_out = draw_weights(None, 1000, n_resamples=1).weights[:, 2:]

    assert (1000, 200) == left_out.shape
    assert np.all(995 == left_out.sum(axis=0))
    assert np.all(199 == left_out.sum(axis=1))


def test_strata_are_drawn_apart() -> None:
    """With strata every draw has as many groups of each kind as the data."""
    strata = np.array([True] * 5 + [False] * 95)
    weights = draw_weights(None, 100, strata=strata, n_resamples=50).weights

    assert np.all(5 == weights[:5, 1:51].sum(axis=0))


def test_the_share_of_a_scarce_class_is_not_frozen() -> None:
    """Of six positives of 200 a draw holds as many as the binomial distribution says.

    Draws that always held six gave F1 and precision intervals of 95 % that held the
    truth in 58 to 86 cases of 100; these hold it in 93 to 97.
    """
    y = np.arange(200) < 6
    held = shared_weights(y, n_resamples=2000).weights[:6, 1:2001].sum(axis=0)

    assert 6 == pytest.approx(held.mean(), abs=0.2)
    assert 200 * 0.03 * 0.97 == pytest.approx(held.var(), rel=0.1)


@pytest.mark.parametrize(("groups", "draws"), [(10, 2000), (4000, 1000), (10**6, 500)])
def test_many_groups_need_fewer_draws(groups: int, draws: int) -> None:
    """2,000 draws, fewer from 2,000 groups on, never fewer than 500."""
    assert draws == default_n_resamples(groups)


def test_draws_do_not_depend_on_how_many_are_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory is bounded by making few draws together; the draws are the same."""
    whole = draw_weights(None, 500, n_resamples=70, seed=3).weights
    monkeypatch.setattr(
        "safebench.statistics.resampling_weights.MAX_DRAWN_AT_ONCE", 1600
    )

    assert np.array_equal(
        whole, draw_weights(None, 500, n_resamples=70, seed=3).weights
    )
