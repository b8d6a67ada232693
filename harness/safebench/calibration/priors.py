"""Maps that are fitted without labels: probabilities divided by what is said of all.

What a guard says of prompts without content, or on average, is taken for its bias: the
probability p becomes proportional to p / prior, 1 - p to (1 - p) / (1 - prior).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Calibrator
from .methods import log_odds

if TYPE_CHECKING:
    from safebench.typing import Array, Floats


class _Prior(Calibrator):
    """Log-odds less those of the mean score that it was fitted on."""

    def fit(self, scores: Floats, y: Array) -> None:  # noqa: ARG002 - there are none
        """Note the mean of the scores."""
        self.state = {"prior": float(scores.mean()), "n": len(scores)}

    def transform(self, scores: Floats) -> Floats:
        """Return probabilities, whose order is that of the scores."""
        import numpy as np
        from scipy.special import expit

        prior = log_odds(np.array([self.state["prior"]]))
        p: Floats = expit(log_odds(scores) - prior)
        return p


class Contextual(_Prior):
    """The prior is the mean over prompts without content.

    Zhao et al. (2021), "Calibrate Before Use: Improving Few-Shot Performance of
    Language Models", arXiv 2102.09690, section 5: W = diag(p_cf)^-1, b = 0.
    """


class Batch(_Prior):
    """The prior is the mean over the samples that are judged, without their labels.

    Zhou et al. (2023), "Batch Calibration: Rethinking Calibration for In-Context
    Learning and Prompt Engineering", arXiv 2309.17249. What a sample gets depends on
    the others beside it.
    """
