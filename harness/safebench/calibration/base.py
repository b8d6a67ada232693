"""The base class of calibrators: scores and labels in, a map to probabilities out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safebench.typing import Array, Floats


class Calibrator:
    """Base class of maps from scores to P(positive).

    It is built with the instance of its options dataclass (None without one). `fit`
    fills `state`, JSON values that are all `transform` may use: what is stored is the
    state, and a calibrator that is read back gets it without a fit. `probability` says
    whether the scores claim to be probabilities; it is set before either is called.
    `note` is what a reader of the numbers has to know of the fit.
    """

    def __init__(self, options: Any = None) -> None:
        self.options = options
        self.state: dict[str, Any] = {}
        self.probability = True
        self.note = ""

    def fit(self, scores: Floats, y: Array) -> None:
        """Fill `state` from scores (n,) and labels (n,) bool.

        Scores are never NaN. There are at least `CalibratorSpec.min_groups` groups of
        each class; a calibrator that is fitted without labels gets none. Raises
        `safebench.errors.DataError` that says why there is no such map.
        """
        raise NotImplementedError

    def transform(self, scores: Floats) -> Floats:
        """Return P(positive) of scores (n,), in [0, 1]; never called with NaN."""
        raise NotImplementedError
