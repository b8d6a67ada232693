"""The one option of every strategy on members' logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How the windows of a long text become one.

    `windows`: the ``worst`` one (largest mean probability of harm) is read alone, or
    the ``first``, or each member's logits are averaged over windows (``mean``).
    """

    windows: Literal["worst", "mean", "first"] = "worst"
