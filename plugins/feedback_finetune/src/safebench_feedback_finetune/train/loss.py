"""The training loss: cross-entropy with soft labels, divergence from the base guard.

Both are taken of the two-way softmax over safe and unsafe at one position. With p the
guard's p(unsafe), t the soft label and q the base guard's p(unsafe), all of one prompt:

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
class LossTargets:
    """Targets of B prompts, all (B,); `label` and `base_p_unsafe` are in [0, 1]."""

    label: Tensor
    ce_weight: Tensor
    base_p_unsafe: Tensor
    kl_weight: Tensor


def verdict_loss(logits: Tensor, targets: LossTargets, kl_factor: float) -> Tensor:
    """Return the mean of ce_weight * CE + kl_factor * kl_weight * KL over B prompts.

    `logits` (B, 2) are those of safe and unsafe. Computed in float32, whatever the
    network's number format.
    """
    logp = functional.log_softmax(logits.float(), dim=-1)
    logp_safe, logp_unsafe = logp[:, 0], logp[:, 1]
    base = targets.base_p_unsafe
    ce = cross_entropy(logp_safe, logp_unsafe, targets.label)
    # KL(q, p) = H(q, p) - H(q). H(q) has no gradient, but without it the loss of the
    # base guard itself would not be 0.
    kl = cross_entropy(logp_safe, logp_unsafe, base) - entropy(base)
    losses = targets.ce_weight * ce + kl_factor * targets.kl_weight * kl
    return losses.sum() / len(losses)


def cross_entropy(logp_safe: Tensor, logp_unsafe: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy (B,) with soft labels, the p(unsafe) to be reached."""
    return -(label * logp_unsafe + (1 - label) * logp_safe)


def entropy(p: Tensor) -> Tensor:
    """Return the entropy (B,) of two outcomes in nats; 0 for p of 0 and 1."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
