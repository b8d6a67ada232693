"""Formulas on members' logits; shapes (..., M, C), entropies in nats.

Pools: Lakshminarayanan et al. 2017 (arXiv 1612.01474) average probabilities, which is
arithmetic; averaging logits is geometric, renormalised. Decomposition of the entropy
of the mean: Depeweg et al. 2018 (arXiv 1710.07283).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logsumexp, xlogy

Floats = np.ndarray[Any, np.dtype[np.float64]]
LOG_2 = float(np.log(2))


def harm(logits: Floats, link: str, polarity: Floats) -> Floats:
    """Return P(harm) from class logits (..., C), as the link and the classes mean it.

    `polarity` (C,): 1 for classes that mean harm, -1 for safe ones, 0 for others.
    Softmax: the mass of harmful classes. Sigmoid: the likeliest harmful class, or one
    minus the safe class where only that is known.
    """
    wanted = polarity > 0
    if link == "softmax":
        mass: Floats = np.exp(
            logsumexp(logits[..., wanted], axis=-1) - logsumexp(logits, axis=-1)
        )
        return np.clip(mass, 0.0, 1.0)
    each = expit(logits)
    if wanted.any():
        most: Floats = each[..., wanted].max(axis=-1)
        return most
    least: Floats = 1 - each[..., polarity < 0].max(axis=-1)
    return least


def entropy(p: Floats) -> Floats:
    """Return the entropy of Bernoulli(p) in nats, (...); 0 at both ends."""
    out: Floats = -(xlogy(p, p) + xlogy(1 - p, 1 - p))
    return np.maximum(out, 0.0)


def predictive_entropy(p: Floats) -> Floats:
    """Return the entropy of the mean of p (B, M), (B,): total uncertainty."""
    return entropy(p.mean(axis=-1))


def expected_entropy(p: Floats) -> Floats:
    """Return the mean entropy of the members p (B, M), (B,): aleatoric."""
    out: Floats = entropy(p).mean(axis=-1)
    return out


def mutual_information(p: Floats) -> Floats:
    """Return total minus expected entropy of p (B, M), (B,): epistemic, at least 0."""
    return np.maximum(predictive_entropy(p) - expected_entropy(p), 0.0)


def votes(p: Floats) -> Floats:
    """Return the share of members p (B, M) that decide for harm, (B,)."""
    share: Floats = (p > 0.5).mean(axis=-1)  # noqa: PLR2004 - a member's own decision
    return share


def vote_entropy(p: Floats) -> Floats:
    """Return the entropy of the members' decisions, (B,)."""
    return entropy(votes(p))


def variation_ratio(p: Floats) -> Floats:
    """Return the share of members against the majority's decision, (B,)."""
    share = votes(p)
    return np.minimum(share, 1 - share)


def member_std(p: Floats) -> Floats:
    """Return the standard deviation of p over members (B, M), (B,)."""
    out: Floats = p.std(axis=-1)
    return out
