"""Columns of judgements: labels in a policy's order, and reasons for no value.

Apart from `.base`, which needs no numpy: declarations of plugins import that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.policies import Policy
    from safebench.typing import Array, Floats


class LabelColumns:
    """Puts columns of a guard's labels in the order of a policy's codes.

    `codes` are those of the guard's labels. Codes of the policy that the guard cannot
    write are NaN. Without a policy, or with one that shares no code, the guard's own
    order stays.
    """

    def __init__(self, codes: Sequence[str], policy: Policy | None) -> None:
        shared = policy is not None and not set(codes).isdisjoint(policy.codes)
        self.names: Sequence[str] = policy.codes if policy and shared else codes
        # One past the last column is the unknown one that `arrange` appends.
        n = len(codes)
        self._source = [codes.index(x) if x in codes else n for x in self.names]

    def arrange(self, values: Floats) -> Floats | None:
        """Reorder values (B, labels); None for a guard without labels."""
        if not self.names:
            return None
        unknown = np.full((len(values), 1), np.nan)
        arranged: Floats = np.hstack([values, unknown])[:, self._source]
        return arranged


def first_reason(*causes: tuple[Array, str]) -> list[str | None]:
    """Return the first cause that holds for each sample, from (mask (B,), text)."""
    reasons: list[str | None] = [None] * len(causes[0][0])
    for holds, text in reversed(causes):
        for row in np.nonzero(holds)[0].tolist():
            reasons[row] = text
    return reasons
