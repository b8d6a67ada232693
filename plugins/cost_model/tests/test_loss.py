"""The loss against its formula, and its gradients against formula and differences."""

from __future__ import annotations

import math

import pytest
import torch

from safebench_cost_model.train.loss import PairLoss

# p, q of the first, q of the second, gap in severity
TARGETS = [
    [1.0, 1.0, 0.0, 2.0],
    [1.0, 1.0, 1.0, 1.0],
    [0.0, 0.0, 1.0, -1.0],
    [0.5, 0.75, 0.25, 0.0],
]
COSTS = [[0.3, -0.7], [1.5, 2.0], [-0.2, 0.4], [0.0, -1.1]]
WEIGHTS = {"w_rank": 2.0, "w_sign": 0.5, "margin": 0.3, "reg": 0.01, "smoothing": 0.1}


def log_s(x: float) -> float:
    """Return the log of the logistic function."""
    return -math.log1p(math.exp(-x))


def s(x: float) -> float:
    """Return the logistic function."""
    return 1 / (1 + math.exp(-x))


def by_hand(costs: list[list[float]]) -> float:
    """Return the loss as the module's formula says, pair by pair."""
    total = 0.0
    for (first, second), (*labels, gap) in zip(costs, TARGETS, strict=True):
        p, q1, q2 = (0.9 * x + 0.05 for x in labels)
        d = first - second - 0.3 * gap
        rank = -p * log_s(d) - (1 - p) * log_s(-d)
        sign = 0.0
        for q, c in ((q1, first), (q2, second)):
            sign += -q * log_s(c) - (1 - q) * log_s(-c)
        total += 2.0 * rank + 0.5 * sign + 0.01 * (first**2 + second**2) / 2
    return total / len(costs)


def gradient(costs: list[list[float]]) -> list[list[float]]:
    """Return the derivatives, worked out by hand."""
    gradients = []
    for (first, second), (*labels, gap) in zip(costs, TARGETS, strict=True):
        p, q1, q2 = (0.9 * x + 0.05 for x in labels)
        pull = 2.0 * (s(first - second - 0.3 * gap) - p)
        one = pull + 0.5 * (s(first) - q1) + 0.01 * first
        two = -pull + 0.5 * (s(second) - q2) + 0.01 * second
        gradients.append([one / len(costs), two / len(costs)])
    return gradients


def test_the_value_is_that_of_the_formula() -> None:
    """Soft labels, margin, smoothing and regularisation included."""
    loss = PairLoss(**WEIGHTS)(torch.tensor(COSTS), torch.tensor(TARGETS))

    assert by_hand(COSTS) == pytest.approx(loss.item(), rel=1e-6)


def test_gradients_are_those_worked_out_by_hand() -> None:
    """The derivative by every cost, in float64."""
    costs = torch.tensor(COSTS, dtype=torch.float64, requires_grad=True)

    PairLoss(**WEIGHTS)(costs, torch.tensor(TARGETS, dtype=torch.float64)).backward()

    assert costs.grad is not None
    expected = torch.tensor(gradient(COSTS), dtype=torch.float64)
    torch.testing.assert_close(costs.grad, expected, rtol=1e-12, atol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    """Central differences of the plain formula give the same derivatives."""
    step = 1e-6
    for i in range(len(COSTS)):
        for j in (0, 1):
            ends = []
            for sign in (1, -1):
                moved = [list(row) for row in COSTS]
                moved[i][j] += sign * step
                ends.append(by_hand(moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert gradient(COSTS)[i][j] == pytest.approx(slope, abs=1e-8)


def test_hard_labels_give_the_three_published_terms() -> None:
    """Without margin and smoothing: -log s(d) - log s(s1 c1) - log s(s2 c2)."""
    costs, targets = torch.tensor([[0.4, -1.2]]), torch.tensor([[1.0, 1.0, 0.0, 3.0]])

    loss = PairLoss(w_rank=1.0, w_sign=1.0, margin=0.0)(costs, targets)

    expected = -log_s(1.6) - log_s(0.4) - log_s(1.2)
    assert expected == pytest.approx(loss.item(), rel=1e-6)


def test_the_order_of_the_two_responses_does_not_matter() -> None:
    """Swapping responses, labels and the gap gives the same loss."""
    loss = PairLoss(**WEIGHTS)
    costs, targets = torch.tensor(COSTS), torch.tensor(TARGETS)
    swapped = torch.stack(
        [1 - targets[:, 0], targets[:, 2], targets[:, 1], -targets[:, 3]], dim=1
    )

    torch.testing.assert_close(loss(costs, targets), loss(costs.flip(1), swapped))
