"""Which guard a command asks: found without loading it, then loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench_llamaguard_marginal.identity import identity
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from .options import SharedOptions
    from .scorer import VerdictScorer

_SAME = ("model", "revision", "weights", "adapter", "policy")


def guard_options(options: SharedOptions, adapter: str = "") -> GuardOptions:
    """Return the guard plugin's own options for those of a command."""
    return GuardOptions(
        model=options.guard,
        adapter=adapter,
        policy=options.policy,
        format=options.format,
        device=options.device,
        dtype=options.dtype,
    )


def guard_identity(options: SharedOptions, adapter: str = "") -> dict[str, Any]:
    """Return what tells two guards apart: weights, adapter, policy, number format."""
    found = identity(guard_options(options, adapter))
    same = {name: found[name] for name in _SAME}
    return same | {
        "format": options.format,
        "dtype": options.dtype,
        "quantize": options.quantize,
    }


def named(label: str, *fingerprints: str) -> str:
    """Return a model's name with the beginning of its commit or hash, of each part.

    A fingerprint is ``sha256:HASH`` or ``ORG/NAME@COMMIT``; empty ones are skipped.
    """
    short = (f.rpartition("@")[2].removeprefix("sha256:")[:12] for f in fingerprints)
    return "@".join((label, "+".join(filter(None, short))))


def open_guard(options: SharedOptions, adapter: str = "") -> VerdictScorer:
    """Load the guard of a command, in 4 bits if it says so; `adapter` goes on top."""
    from .scorer import VerdictScorer

    asked = guard_options(options, adapter)
    if options.quantize == "4bit":
        from .quantized import load_quantized

        return VerdictScorer(load_quantized(asked))
    from safebench_llamaguard_marginal.loading import load_guard

    return VerdictScorer(load_guard(asked))
