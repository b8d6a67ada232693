"""Formulas on members' logits; shapes (..., M, C), entropies in nats.

Pools: Lakshminarayanan et al. 2017 (arXiv 1612.01474) average probabilities, which is
arithmetic; averaging logits is geometric, renormalised. Decomposition of the entropy
of the mean: Depeweg et al. 2018 (arXiv 1710.07283).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logsumexp, xlogy

if TYPE_CHECKING:
    from safebench.typing import Floats

LOG_2 = float(np.log(2))
EVEN_ODDS = 0.5  # the likelier class, which votes of the literature are for


def harm_probability(logits: Floats, link: str, polarity: Floats) -> Floats:
    """Return P(harm) from class logits (..., C), as the link and the classes mean it.

    `polarity` (C,): 1 for classes that mean harm, -1 for safe ones, 0 for others.
    Softmax: the mass of harmful classes. Sigmoid: the likeliest harmful class, or one
    minus the safe class where only that is known.
    """
    harmful = polarity > 0
    if link == "softmax":
        mass: Floats = np.exp(
            logsumexp(logits[..., harmful], axis=-1) - logsumexp(logits, axis=-1)
        )
        return np.clip(mass, 0.0, 1.0)  # rounding may leave 1 + 1e-16
    p = expit(logits)
    if harmful.any():
        likeliest: Floats = p[..., harmful].max(axis=-1)
        return likeliest
    not_safe: Floats = 1 - p[..., polarity < 0].max(axis=-1)
    return not_safe


def class_probabilities(logits: Floats, link: str) -> Floats:
    """Return the probability of each class from logits (..., C), of the same shape."""
    if link == "softmax":
        p: Floats = np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))
        return np.clip(p, 0.0, 1.0)
    alone: Floats = expit(logits)
    return alone


def entropy(p: Floats) -> Floats:
    """Return the entropy of Bernoulli(p) in nats, (...); 0 at both ends."""
    nats: Floats = -(xlogy(p, p) + xlogy(1 - p, 1 - p))
    return np.maximum(nats, 0.0)  # and not -0.0


def predictive_entropy(p: Floats) -> Floats:
    """Return the entropy of the mean of p (B, M), (B,): total uncertainty."""
    return entropy(p.mean(axis=-1))


def expected_entropy(p: Floats) -> Floats:
    """Return the mean entropy of the members p (B, M), (B,): aleatoric."""
    mean: Floats = entropy(p).mean(axis=-1)
    return mean


def mutual_information(p: Floats) -> Floats:
    """Return total minus expected entropy of p (B, M), (B,): epistemic, at least 0."""
    return np.maximum(predictive_entropy(p) - expected_entropy(p), 0.0)


def vote_share(p: Floats, at: float = EVEN_ODDS) -> Floats:
    """Return the share of members p (B, M) that decide for harm from `at` on, (B,)."""
    share: Floats = (p >= at).mean(axis=-1)
    return share


def vote_entropy(p: Floats, at: float = EVEN_ODDS) -> Floats:
    """Return the entropy of the members' decisions, (B,)."""
    return entropy(vote_share(p, at))


def variation_ratio(p: Floats, at: float = EVEN_ODDS) -> Floats:
    """Return the share of members against the majority's decision, (B,)."""
    share = vote_share(p, at)
    return np.minimum(share, 1 - share)


def member_std(p: Floats) -> Floats:
    """Return the standard deviation of p over members (B, M), (B,)."""
    std: Floats = p.std(axis=-1)
    return std
