"""The options of each command: its flags, its keys in a file, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from safebench.errors import OptionError

SETS = "beavertails, diasafety, xstest_response, pku_safe_rlhf"


def option(default: Any, help_: str, **metadata: Any) -> Any:
    """Return a field whose flag is explained by `help_`.

    `repeat` makes a flag that may be given several times, `flags` names it otherwise
    than the field, `metavar` shows what it takes.
    """
    return field(default=default, metadata={"help": help_, **metadata})


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectOptions:
    """What `feedback collect` asks whom, and where it keeps the answers."""

    dataset: tuple[str, ...] = option(
        (),
        "Prompts to ask; a .jsonl or .csv file, too; without a split: the training "
        "split",
        repeat=True,
        flags=("-d", "--dataset"),
        metavar="NAME[:CONFIG][:SPLIT]",
    )
    out: str = option("", "Folder of what is collected; the same folder goes on")
    guard: str = option(
        "",
        "The guard, a hub id or a folder (default: the embedded one)",
        flags=("--guard", "--model"),
        metavar="ID|DIR",
    )
    adapter: str = option("", "A LoRA on top of the guard", metavar="DIR")
    generator: str = option(
        "replay",
        "Who answers: replay takes the responses of the dataset, else any causal "
        "language model",
        metavar="replay|ID|DIR",
    )
    limit: int | None = option(None, "Samples a dataset, whole groups")
    threshold: float = option(0.5, "p(unsafe) from which the guard blocks")
    answers: int = option(1, "Answers of the language model to each prompt")
    max_new_tokens: int = option(256, "Longest answer of the language model")
    temperature: float = option(0.7, "Of its answers; 0 takes the likeliest token")
    top_p: float = option(0.9, "Share of the likeliest tokens that it draws from")
    seed: int = option(0, "Of its draws, and of the order under --limit")
    save_every: int = option(64, "Prompts between two savings")
    policy: str = option("llama-guard-3", "The policy that the guard is asked about")
    format: Literal[
        "auto", "chat", "instruct", "llama-guard-1", "llama-guard-2", "llama-guard-3"
    ] = option("auto", "Who writes the guard's prompt")
    device: str = option("auto", "Where models run")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Their number format"
    )
    quantize: Literal["none", "4bit"] = option(
        "none", "Load the guard in 4 bits (needs the extra qlora)"
    )
    data_root: str | None = option(None, "Read hub datasets from DIR/hub-id")
    on_bad_row: Literal["fail", "skip"] = option("fail", "What a bad row does")
    label_map: tuple[str, ...] = option(
        (), "What a label word of a file means", repeat=True, metavar="WORD=safe|unsafe"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if not self.dataset:
            raise OptionError(f"which prompts? --dataset NAME; with responses: {SETS}")
        if not self.out:
            raise OptionError("where to? --out DIR")
        if not 0 < self.threshold < 1:
            raise OptionError(f"threshold: between 0 and 1, got {self.threshold:g}")
        if not 0 < self.top_p <= 1:
            raise OptionError(f"top_p: above 0, at most 1, got {self.top_p:g}")
        if self.temperature < 0:
            raise OptionError(f"temperature: 0 or more, got {self.temperature:g}")
        if self.answers > 1 and not self.temperature:
            raise OptionError("at temperature 0 all answers are the same: --answers 1")
        for name in ("answers", "max_new_tokens", "save_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: 1 or more, got {getattr(self, name)}")
