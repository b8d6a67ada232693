"""The loss of a cost model: the worse response above the other, each on its side of 0.

With d = c_first - c_second, p the share that calls the first less safe, q that which
calls a response unsafe, and m times the gap in severity:

    rank = -p log s(d - m gap) - (1 - p) log s(-d + m gap)
    sign = -q log s(c) - (1 - q) log s(-c), for both responses
    loss = w_rank rank + w_sign (sign_first + sign_second) + reg mean(c^2)

A response that was labelled alone is no pair, and has w_single sign + reg c^2.

With hard labels this is the loss of Safe RLHF (arXiv 2310.12773, equation 8) with a
margin. Plain cross entropy with soft targets: a contradicted pair pulls less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLoss:
    """The weights of the terms. `smoothing` moves that share of labels to one half."""

    w_rank: float = 2.0
    w_sign: float = 1.0
    w_single: float = 1.0
    margin: float = 0.5
    reg: float = 0.0
    smoothing: float = 0.0

    def __call__(self, costs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over B items; costs (B, 2), targets (B, 4): p, q, q, gap.

        Of a single response both costs and both q are its own, and p is NaN.
        """
        single = targets[:, 0].isnan()
        if not single.any():
            return self._of_pairs(costs, targets)
        loss = self._of_singles(costs[single, 0], targets[single, 1])
        if not single.all():
            pairs = ~single
            loss = loss + self._of_pairs(costs[pairs], targets[pairs]) * pairs.sum()
        return loss / len(targets)

    def _of_singles(self, costs: Tensor, unsafe: Tensor) -> Tensor:
        """Return the sum of the loss over single responses; both (S,)."""
        labels = unsafe * (1 - self.smoothing) + self.smoothing / 2
        sign = functional.binary_cross_entropy_with_logits(
            costs, labels, reduction="sum"
        )
        loss: Tensor = self.w_single * sign + self.reg * costs.square().sum()
        return loss

    def _of_pairs(self, costs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of the loss over pairs."""
        labels = targets[:, :3] * (1 - self.smoothing) + self.smoothing / 2
        gap = costs[:, 0] - costs[:, 1] - self.margin * targets[:, 3]
        rank = functional.binary_cross_entropy_with_logits(gap, labels[:, 0])
        sign = functional.binary_cross_entropy_with_logits(costs, labels[:, 1:])
        # `sign` is a mean over both responses, and the formula has their sum.
        loss: Tensor = self.w_rank * rank + self.w_sign * 2 * sign
        if self.reg:
            loss = loss + self.reg * costs.square().mean()
        return loss
