"""Uncertainty from logits as evidence of a Dirichlet distribution (arXiv 2502.00290).

The K largest logits of a token are the concentrations alpha of a Dirichlet over what it
could have been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma

if TYPE_CHECKING:
    from safebench.typing import Floats


def aleatoric_uncertainty(alpha: Floats) -> Floats:
    """Return AU, the expected entropy of Dirichlet(alpha), (...,); alpha (..., K) > 0.

    AU = -sum_k alpha_k / alpha_0 (digamma(alpha_k + 1) - digamma(alpha_0 + 1)).
    """
    total = alpha.sum(axis=-1, keepdims=True)
    surprise = digamma(total + 1.0) - digamma(alpha + 1.0)
    nats: Floats = (alpha / total * surprise).sum(axis=-1)
    return nats


def epistemic_uncertainty(alpha: Floats) -> Floats:
    """Return EU = K / (sum of alpha + K), in (0, 1): 1 without any evidence."""
    width = alpha.shape[-1]
    # The K in the denominator is a prior of one for each of the K outcomes.
    share: Floats = width / (np.maximum(alpha, 0.0).sum(axis=-1) + width)
    return share


def token_reliability(logits: Floats, *, rectify: bool) -> Floats:
    """Return R = -AU EU of tokens (T,) with their K largest logits (T, K).

    Literal: alpha = logits, NaN where one is not positive. `rectify`: evidence
    relu(logits), alpha = evidence + 1, so that none at all is least reliable.
    """
    if rectify:
        evidence = np.maximum(logits, 0.0)
        return -aleatoric_uncertainty(evidence + 1.0) * epistemic_uncertainty(evidence)
    # The paper takes logits as they are; for negative ones its formula is undefined.
    alpha = nan_unless_positive(logits)
    return -aleatoric_uncertainty(alpha) * epistemic_uncertainty(alpha)


def epistemic_over_aleatoric(logits: Floats) -> Floats:
    """Return EU / AU of the K largest logits (B, K); NaN where one is not positive."""
    alpha = nan_unless_positive(logits)
    ratio: Floats = epistemic_uncertainty(alpha) / aleatoric_uncertainty(alpha)
    return ratio


def nan_unless_positive(logits: Floats) -> Floats:
    """Return logits with NaN in the rows that hold one that is not positive."""
    positive = (logits > 0).all(axis=-1, keepdims=True)
    return np.where(positive, logits, np.nan)
