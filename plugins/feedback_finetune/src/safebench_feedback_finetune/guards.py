"""Which guard a command asks: found without loading it, then loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from safebench_llamaguard_marginal.identity import identity
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from safebench_llamaguard_marginal.options import Format

    from .scorer import VerdictScorer

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_SAME = ("model", "revision", "weights", "adapter", "policy")


class GuardChoice(Protocol):
    """Options of any command that asks a guard; see `CollectOptions`."""

    @property
    def guard(self) -> str:
        """A hub id or a folder; "" is the embedded guard."""

    @property
    def adapter(self) -> str:
        """A LoRA on top of it, or ""."""

    @property
    def policy(self) -> str:
        """The policy that it is asked about."""

    @property
    def format(self) -> Format:
        """Who writes its prompt."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def dtype(self) -> Dtype:
        """Its number format."""

    @property
    def quantize(self) -> Literal["none", "4bit"]:
        """In how many bits its weights are held."""


def guard_options(options: GuardChoice) -> GuardOptions:
    """Return the guard plugin's own options for those of a command."""
    return GuardOptions(
        model=options.guard,
        adapter=options.adapter,
        policy=options.policy,
        format=options.format,
        device=options.device,
        dtype=options.dtype,
    )


def guard_identity(options: GuardChoice) -> dict[str, Any]:
    """Return what tells two guards apart: weights, adapter, policy, number format."""
    found = identity(guard_options(options))
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


def open_guard(options: GuardChoice) -> VerdictScorer:
    """Load the guard of a command, in 4 bits if it says so."""
    from .scorer import VerdictScorer

    asked = guard_options(options)
    if options.quantize == "4bit":
        from .quantized import load_quantized

        return VerdictScorer(load_quantized(asked))
    from safebench_llamaguard_marginal.loading import load_guard

    return VerdictScorer(load_guard(asked))
