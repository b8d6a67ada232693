"""The options of `feedback train`, `evaluate` and `full`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar, Literal, get_type_hints

from safebench.errors import OptionError

from .options import CollectOptions, option

_SHARES = ("agreement", "hard", "benign_val", "augment", "recall_loss")
_COUNTS = ("lora_r", "batch_size", "gradient_accumulation", "eval_steps")
_AMOUNTS = ("kl", "replay", "hard_weight", "epochs", "learning_rate", "negatives")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What `feedback train` learns from what, and what the gate promises."""

    adapter: ClassVar[str] = ""  # a LoRA is learnt on the bare guard

    collected: str = option("", "Folder of feedback collect", metavar="DIR")
    out: str = option("", "Folder of the adapter; the same folder goes on")
    benign: tuple[str, ...] = option(
        (),
        "Prompts that people labelled: the harmless ones show the gate false alarms; "
        "without a split: the training split",
        repeat=True,
        metavar="NAME[:CONFIG][:SPLIT]",
    )
    guard: str = option(
        "",
        "The guard that collected, a hub id or a folder (default: the embedded one)",
        flags=("--guard", "--model"),
        metavar="ID|DIR",
    )
    recipe: Literal["ours", "ours_without_kl", "balanced", "unsafe_only"] = option(
        "ours", "Which prompts teach, and how; all but the first are for comparison"
    )
    split: str = option("60/10/15/15", "Shares of train, val, calib and test")
    benign_val: float = option(0.25, "Share of the --benign prompts for val")
    soft: Literal["p_out", "block_rate", "hard"] = option(
        "p_out", "Label of a prompt: mean p(unsafe) of its responses, or share blocked"
    )
    agreement: float = option(
        0.5, "Share of a prompt's responses that must be blocked to call it harmful"
    )
    negatives: int = option(0, "Prompts rightly passed for each that was not; 0: all")
    hard: float = option(0.25, "Share of them that the guard found the most unsafe")
    hard_weight: float = option(2.0, "What one of those counts")
    replay: float = option(
        1.0, "Prompts it stopped that are replayed, for each that has a label"
    )
    kl: float = option(1.0, "Strength of staying near the base guard")
    augment: float = option(
        0.0, "Chance of a copy under a policy of other codes and fewer categories"
    )
    lora_r: int = option(16, "Rank of the LoRA")
    lora_alpha: int = option(32, "Its scale, divided by the rank")
    lora_dropout: float = option(0.05, "Its dropout")
    epochs: float = option(2.0, "Passes over the examples")
    batch_size: int = option(16, "Prompts a step")
    gradient_accumulation: int = option(1, "Steps that are added up")
    learning_rate: float = option(1e-4, "Its highest; it falls along a cosine")
    weight_decay: float = option(0.0, "Of AdamW")
    warmup_steps: float = option(0.05, "Steps, or a share of them below 1")
    eval_steps: int = option(50, "Steps between validations")
    patience: int = option(4, "Validations without a better one; 0: never stop early")
    keep: Literal["best", "last"] = option(
        "best", "The state with the best F1 under the cap on val, or the last"
    )
    alphas: tuple[float, ...] = option(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "A scale of the LoRA to try; 0 is the base guard (default: quarters)",
        repeat=True,
        flags=("--alpha",),
        metavar="NUMBER",
    )
    cap: float | None = option(
        None, "Highest false-positive rate (default: the base guard's, and the margin)"
    )
    cap_margin: float = option(0.01, "What may be added to the base guard's rate")
    recall_loss: float = option(0.02, "Recall that may be lost against the base guard")
    delta: float = option(0.05, "Chance that a guard which breaks a promise passes")
    strict: bool = option(False, "Exit with 1 if the gate rejects")
    seed: int = option(0, "Of split, draws and training")
    policy: str = option("llama-guard-3", "The policy that the guard is asked about")
    format: Literal[
        "auto", "chat", "instruct", "llama-guard-1", "llama-guard-2", "llama-guard-3"
    ] = option("auto", "Who writes the guard's prompt")
    device: str = option("auto", "Where the guard runs")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Its number format"
    )
    quantize: Literal["none", "4bit"] = option(
        "none", "Load the guard in 4 bits (needs the extra qlora)"
    )
    data_root: str | None = option(None, "Read hub datasets from DIR/hub-id")
    label_map: tuple[str, ...] = option(
        (), "What a label word of a file means", repeat=True, metavar="WORD=safe|unsafe"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if not self.collected:
            raise OptionError("which collection? --collected DIR of feedback collect")
        if not self.out:
            raise OptionError("where to? --out DIR")
        if not self.benign:
            raise OptionError(
                "which prompts may not be flagged? --benign NAME, of prompts that "
                "people labelled, such as toxic_chat: what the guard itself let pass "
                "cannot show its false alarms"
            )
        if self.cap is not None and not 0 < self.cap < 1:
            raise OptionError(f"cap: between 0 and 1, got {self.cap:g}")
        if not 0 < self.delta < 1:
            raise OptionError(f"delta: between 0 and 1, got {self.delta:g}")
        if not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise OptionError("alphas: each from 0 to 1")
        _check_numbers(self)


def _check_numbers(options: TrainOptions) -> None:
    """Raise OptionError for a share, count or amount that is none."""
    limits = ((_SHARES, 0, 1), (_COUNTS, 1, None), (_AMOUNTS, 0, None))
    for names, least, most in limits:
        for name in names:
            value = getattr(options, name)
            if value < least or (most is not None and value > most):
                meant = f"from {least} to {most}" if most else f"{least} or more"
                raise OptionError(f"{name}: {meant}, got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What `feedback evaluate` measures, and where."""

    adapter: ClassVar[str] = ""

    improved: str = option("", "Folder of feedback train", metavar="DIR")
    ood: tuple[str, ...] = option(
        (),
        "Other sets with labels for prompts, out of the training's distribution",
        repeat=True,
        metavar="NAME[:CONFIG][:SPLIT]",
    )
    eval_limit: int | None = option(None, "Prompts of each set at most")
    draws: int = option(2000, "Bootstrap draws of the intervals")
    ungated: bool = option(
        False, "Measure the whole LoRA at the base guard's threshold as well"
    )
    strict: bool = option(False, "Exit with 1 if the gate rejected the guard")
    guard: str = option(
        "",
        "The guard that collected, a hub id or a folder (default: the embedded one)",
        flags=("--guard", "--model"),
        metavar="ID|DIR",
    )
    policy: str = option("llama-guard-3", "The policy that the guard is asked about")
    format: Literal[
        "auto", "chat", "instruct", "llama-guard-1", "llama-guard-2", "llama-guard-3"
    ] = option("auto", "Who writes the guard's prompt")
    device: str = option("auto", "Where the guard runs")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Its number format"
    )
    quantize: Literal["none", "4bit"] = option(
        "none", "Load the guard in 4 bits (needs the extra qlora)"
    )
    data_root: str | None = option(None, "Read hub datasets from DIR/hub-id")
    label_map: tuple[str, ...] = option(
        (), "What a label word of a file means", repeat=True, metavar="WORD=safe|unsafe"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if not self.improved:
            raise OptionError("what to measure? --improved DIR of feedback train")
        if self.draws < 1:
            raise OptionError(f"draws: 1 or more, got {self.draws}")


BETWEEN = ("collected", "improved")  # folders that one stage hands to the next
STAGES_OF_FULL = (CollectOptions, TrainOptions, EvaluateOptions)


def _every_field() -> list[tuple[str, Any, Any]]:
    """Return name, type and field of each option of the stages, each once."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for stage in STAGES_OF_FULL:
        hints = get_type_hints(stage)
        for one in fields(stage):
            if one.name in BETWEEN or one.name in found:
                continue
            again = field(default=one.default, metadata=one.metadata, kw_only=True)
            found[one.name] = (one.name, hints[one.name], again)
    return list(found.values())


FullOptions = make_dataclass("FullOptions", _every_field(), frozen=True, slots=True)
FullOptions.__module__ = __name__
FullOptions.__doc__ = "The options of all stages: each stage takes those it knows."


def stage_options(stage: type[Any], full: Any, **given: Any) -> Any:
    """Return the options of one stage out of those of all; `given` come first."""
    values = {
        one.name: getattr(full, one.name)
        for one in fields(stage)
        if one.name not in BETWEEN
    }
    return stage(**values | given)
