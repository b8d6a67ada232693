"""The options of `feedback collect`, and those that every command takes.

A field is a flag, and a key in a file of options.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

SET = "NAME[:CONFIG][:SPLIT]|FILE"
SETS = "beavertails, diasafety, xstest_response, pku_safe_rlhf"
REPLAY = "replay"  # the generator that takes the responses of a dataset


def option(default: Any, help_: str, **metadata: Any) -> Any:
    """Return a field whose flag is explained by `help_`.

    `repeat` makes a flag that may be given several times, `flags` names it otherwise
    than the field, `metavar` shows what it takes.
    """
    return field(default=default, metadata={"help": help_, **metadata})


def check_range(
    options: Any, names: Iterable[str], least: float, most: float | None = None
) -> None:
    """Raise OptionError for an option outside of `least` to `most`; None passes."""
    for name in names:
        value = getattr(options, name)
        if value is None:
            continue
        if not isfinite(value) or value < least or (most is not None and value > most):
            meant = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
            raise OptionError(f"{name}: {meant}, got {value:g}")


def check_between(options: Any, *names: str) -> None:
    """Raise OptionError for an option that is not above 0 and below 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            raise OptionError(f"{name}: between 0 and 1, got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOptions:
    """Which guard is asked, where it runs, and how datasets are read."""

    guard: str = option(
        "",
        "Guard to ask, the same in all stages (default: the embedded one)",
        flags=("--guard", "--model"),
        metavar="ID|DIR",
    )
    policy: str = option("llama-guard-3", "Policy that the guard is asked about")
    format: Literal[
        "auto", "chat", "instruct", "llama-guard-1", "llama-guard-2", "llama-guard-3"
    ] = option(
        "auto",
        "How the guard's prompt is written: auto, chat, instruct, llama-guard-1, "
        "llama-guard-2 or llama-guard-3",
        metavar="NAME",
    )
    device: str = option("auto", "Where models run", metavar="NAME")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Number format of all models"
    )
    quantize: Literal["none", "4bit"] = option(
        "none", "Load the guard in 4 bits (needs the extra qlora)"
    )
    data_root: str | None = option(
        None, "Read hub datasets from DIR/ORG/NAME instead of the hub", metavar="DIR"
    )
    label_map: tuple[str, ...] = option(
        (), "What a label word of a file means", repeat=True, metavar="WORD=safe|unsafe"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectOptions(SharedOptions):
    """What `feedback collect` asks whom, and where it keeps the answers."""

    dataset: tuple[str, ...] = option(
        (),
        "Prompts to ask: a dataset by name (without SPLIT its training split), or a "
        ".jsonl or .csv file",
        repeat=True,
        flags=("-d", "--dataset"),
        metavar=SET,
    )
    out: str = option(
        "", "Folder for the collection; the same folder goes on", metavar="DIR"
    )
    adapter: str = option("", "LoRA on top of the guard", metavar="DIR")
    generator: str = option(
        REPLAY,
        "Who answers: replay takes the responses that the dataset has, else a causal "
        "language model does",
        metavar="replay|ID|DIR",
    )
    limit: int | None = option(
        None,
        "At most this many samples of each dataset; related ones stay together",
        metavar="N",
    )
    threshold: float = option(0.5, "The guard blocks from this p(unsafe) on")
    answers: int = option(1, "Answers to each prompt, if a language model answers")
    max_new_tokens: int = option(256, "Length of its answers at most, in tokens")
    temperature: float = option(
        0.7, "Temperature of its answers; 0 takes the likeliest token"
    )
    top_p: float = option(0.9, "Share of the likeliest tokens that it draws from")
    seed: int = option(0, "Seed of its draws, and of what --limit takes")
    save_every: int = option(64, "Prompts after which the collection is saved")
    on_bad_row: Literal["fail", "skip"] = option(
        "fail", "Stop at rows that cannot be read, or leave them out"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if not self.dataset:
            raise OptionError(f"which prompts? --dataset NAME; with responses: {SETS}")
        if not self.out:
            raise OptionError("where to? --out DIR")
        check_between(self, "threshold")
        check_range(self, ("answers", "max_new_tokens", "save_every", "limit"), 1)
        check_range(self, ("temperature", "seed"), 0)
        if not 0 < self.top_p <= 1:
            raise OptionError(f"top_p: above 0, at most 1, got {self.top_p:g}")
        if self.answers > 1 and not self.temperature:
            raise OptionError("at temperature 0 all answers are the same: --answers 1")
