"""Calibration of what an ensemble pools, fitted on the validation rows of its training.

One temperature for each pool (Guo et al. 2017, arXiv 1706.04599): the log-odds of the
pooled probability are divided by it, so that no decision at one half changes. A
training with class weights has moved all log-odds by log(w_harmful / w_safe), which no
temperature takes back: there slope and offset are fitted (Platt 1999).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.calibration import Platt, Temperature
from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.typing import Array, Floats

MIN_LABELS = 10  # of each class, below which nothing is fitted
META_KEY = "calibration"
_CLIP = 1e-12  # kept away from 0 and 1, as calibrators do


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCalibration:
    """p = s(slope * log-odds + offset), fitted on `n` validation rows.

    Without an offset, 1 / slope is a temperature.
    """

    slope: float
    offset: float = 0.0
    n: int = 0

    def probability(self, p: Floats) -> Floats:
        """Return calibrated probabilities of pooled ones, any shape; NaN stays NaN."""
        from scipy.special import expit, logit

        log_odds = logit(np.clip(p, _CLIP, 1 - _CLIP))
        calibrated: Floats = expit(self.slope * log_odds + self.offset)
        return calibrated

    @property
    def at_one_half(self) -> float:
        """What a pooled probability of one half becomes."""
        from scipy.special import expit

        return float(expit(self.offset))

    @property
    def described(self) -> str:
        """The calibration in words, for tables."""
        line = (
            f"slope {self.slope:.3g} and offset {self.offset:.3g} of the log-odds"
            if self.offset
            else f"temperature {1 / self.slope:.3g}"
        )
        return f"calibrated probability: {line}, fitted on {self.n} validation rows"

    def as_json(self) -> dict[str, float]:
        """Return what `read_calibration` reads back."""
        return asdict(self)


def read_calibration(content: Mapping[str, Any] | None) -> PoolCalibration | None:
    """Return a stored calibration; None where there is none, or a reason instead."""
    if not content or "slope" not in content:
        return None
    return PoolCalibration(**content)


def fit_calibration(p: Floats, harmful: Array, *, weighted: bool) -> dict[str, Any]:
    """Return the calibration of pooled probabilities p (n,) as JSON, or why not.

    `harmful` (n,) are the labels. `weighted` tells that classes had weights.
    """
    few = min(int(harmful.sum()), int((~harmful).sum()))
    if few < MIN_LABELS:
        return {
            "none": f"{few} validation rows of the rarer class; it takes {MIN_LABELS}"
        }
    calibrator = Platt() if weighted else Temperature()
    try:
        calibrator.fit(p, harmful)
    except DataError as error:
        return {"none": error.message}
    state = calibrator.state
    slope = state["slope"] if weighted else 1 / state["temperature"]
    return PoolCalibration(
        slope=float(slope), offset=float(state.get("offset", 0.0)), n=len(p)
    ).as_json()


def stored_calibration(
    manifest: Mapping[str, Any], members: tuple[str, ...]
) -> dict[str, Any]:
    """Return the calibration of each pool of these members, {} where there is none.

    A single member has its own: pools of one coincide, and the ensemble's temperature
    is not that of a member, which is less sure of its errors or more so.
    """
    content = manifest.get(META_KEY) or {}
    if len(members) == 1 and len(manifest.get("members", ())) > 1:
        own = content.get("members", {}).get(members[0])
        return {"mean_logits": own, "mean_probs": own} if own else {}
    return dict(content.get("pools", {}))
