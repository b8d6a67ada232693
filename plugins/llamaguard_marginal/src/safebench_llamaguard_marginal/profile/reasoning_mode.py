"""What the option `reasoning` asks of a profile: whether, and how it reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .schema import VerdictAfter


def reasons(after: VerdictAfter | None, requested: str, where: str) -> bool:
    """Tell whether a guard reasons before its verdict.

    Raises OptionError where it is asked for what its profile does not have.
    """
    if after is None:
        if requested in ("auto", "off"):
            return False
        raise OptionError(
            f"{where}: reasoning={requested}, and it says nothing of a reasoning "
            "(verdict_after); reasoning=off would work"
        )
    mode = after.default if requested == "auto" else requested
    if mode == "off" and after.no_think is None:
        raise OptionError(
            f"{where}: this family always reasons: it has no form without "
            "(verdict_after.no_think); reasoning=greedy would work"
        )
    return mode != "off"


def reasoning_prefill(prompt: Mapping[str, Any], after: VerdictAfter) -> dict[str, Any]:
    """Return a prompt with the beginning of the reasoning behind it."""
    return {**prompt, "prefill": f"{prompt.get('prefill', '')}{after.start}"}
