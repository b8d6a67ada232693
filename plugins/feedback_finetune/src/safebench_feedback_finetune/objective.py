"""The loss on the verdict: cross-entropy with a soft label, and nearness to the base.

Both look at the two-way softmax over safe and unsafe at one position. With p the
guard's p(unsafe), t the label and q the base guard's p(unsafe), all of one prompt:

    CE = -t log p - (1 - t) log(1 - p)
    KL = q log(q / p) + (1 - q) log((1 - q) / (1 - p))

Their gradients by the logit of unsafe are p - t and p - q; by that of safe, the same
negated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """What B prompts should come to, all (B,): label and weight, base and weight."""

    label: Tensor
    ce: Tensor
    base: Tensor
    kl: Tensor


def verdict_loss(logits: Tensor, targets: Targets, strength: float) -> Tensor:
    """Return the mean over B prompts of ce * CE + strength * kl * KL.

    `logits` (B, 2) are those of safe and unsafe. Computed in float32.
    """
    said = functional.log_softmax(logits.float(), dim=-1)
    safe, unsafe = said[:, 0], said[:, 1]
    ce = cross_entropy(safe, unsafe, targets.label)
    kl = cross_entropy(safe, unsafe, targets.base) - entropy(targets.base)
    each = targets.ce * ce + strength * targets.kl * kl
    return each.sum() / len(each)


def cross_entropy(safe: Tensor, unsafe: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy of log-probabilities and p(unsafe) labels, (B,)."""
    return -(label * unsafe + (1 - label) * safe)


def entropy(p: Tensor) -> Tensor:
    """Return the entropy of two outcomes in nats, (B,); 0 at 0 and 1."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
