"""The options of `feedback train`, `evaluate` and `full`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal, get_type_hints

from safebench.errors import OptionError

from .options import (
    SET,
    CollectOptions,
    SharedOptions,
    check_between,
    check_range,
    option,
)

_SHARES = (
    *("agreement", "hard", "augment", "recall_loss", "lora_dropout"),
    *("benign_val", "benign_train"),
)
_COUNTS = ("lora_r", "lora_alpha", "batch_size", "gradient_accumulation", "eval_steps")
_AMOUNTS = (
    *("kl", "replay", "benign_weight", "hard_weight", "negatives", "cap_margin"),
    *("epochs", "learning_rate", "weight_decay", "warmup_steps", "patience"),
    *("seed", "split_seed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions(SharedOptions):
    """What `feedback train` learns from what, and what the gate promises."""

    collected: str = option("", "Folder of feedback collect", metavar="DIR")
    out: str = option(
        "", "Folder for what is learnt; the same folder goes on", metavar="DIR"
    )
    benign: tuple[str, ...] = option(
        (),
        "Prompts that people labelled (without SPLIT the training split): the harmless "
        "ones show the gate false alarms",
        repeat=True,
        metavar=SET,
    )
    recipe: Literal[
        "ours", "ours_without_kl", "labels_only", "balanced", "unsafe_only"
    ] = option(
        "ours",
        "Which prompts teach, and how: ours or, to compare, ours_without_kl, "
        "labels_only, balanced, unsafe_only",
        metavar="NAME",
    )
    split: str = option(
        "60/10/15/15", "Shares of train, val, calib and test", metavar="A/B/C/D"
    )
    split_seed: int | None = option(None, "Seed of the parts (default: --seed)")
    benign_val: float = option(0.25, "Share of the --benign prompts that joins val")
    benign_train: float = option(
        0.0, "Share of the --benign prompts that is learnt as harmless"
    )
    benign_weight: float = option(1.0, "Weight of one of these in the loss")
    soft: Literal["p_out", "block_rate", "hard"] = option(
        "p_out",
        "Label of a prompt: mean p(unsafe) of its responses, share of them that was "
        "blocked, or 0 and 1",
    )
    agreement: float = option(
        0.5, "Share of the responses to a prompt from which it counts as harmful"
    )
    negatives: int = option(
        0, "Harmless prompts to keep for each harmful one; 0: all of them"
    )
    hard: float = option(
        0.25, "Share of the kept ones that are hard: the guard came closest to blocking"
    )
    hard_weight: float = option(2.0, "Weight of a hard one in the loss")
    replay: float = option(
        1.0, "Blocked prompts that are replayed, for each prompt with a label"
    )
    kl: float = option(1.0, "Weight of staying near the base guard")
    augment: float = option(
        0.0,
        "Share of the prompts that is learnt twice, once under a policy of other codes "
        "and fewer categories",
    )
    lora_r: int = option(16, "Rank of the LoRA")
    lora_alpha: int = option(32, "Size of the LoRA's updates, times its rank")
    lora_dropout: float = option(0.05, "Dropout of the LoRA")
    epochs: float = option(2.0, "Times that each prompt is seen")
    batch_size: int = option(16, "Prompts in a batch")
    gradient_accumulation: int = option(1, "Batches in a step")
    learning_rate: float = option(1e-4, "Highest learning rate; it falls to 0")
    weight_decay: float = option(0.0, "Weight decay of AdamW")
    warmup_steps: float = option(
        0.05, "Steps in which the learning rate rises; below 1, a share of all"
    )
    eval_steps: int = option(50, "Steps between two validations")
    patience: int = option(
        4, "Validations without a better one after which training stops; 0: never"
    )
    keep: Literal["best", "last"] = option(
        "best", "Keep the state with the best F1 on val under the cap, or the last one"
    )
    alphas: tuple[float, ...] = option(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "Scale of the LoRA that may be chosen, 0: the base guard (default: quarters)",
        repeat=True,
        flags=("--alpha",),
        metavar="NUMBER",
    )
    cap: float | None = option(
        None,
        "Highest false-positive rate (default: the base guard's on val, and "
        "--cap-margin)",
    )
    cap_margin: float = option(
        0.01, "What the cap is above the base guard's false-positive rate"
    )
    recall_loss: float = option(
        0.02, "Recall that may be lost, compared to the base guard"
    )
    delta: float = option(
        0.05, "Chance that a guard passes which breaks one of the two promises"
    )
    strict: bool = option(False, "Exit with 1 if the gate rejects what was learnt")
    seed: int = option(0, "Seed of parts, draws and training")

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
        check_between(self, "cap", "delta")
        check_range(self, _SHARES, 0, 1)
        check_range(self, _COUNTS, 1)
        check_range(self, _AMOUNTS, 0)
        if not (self.benign_val > 0 and self.benign_val + self.benign_train < 1):
            raise OptionError(
                "benign_val, benign_train: shares that leave something to the gate, "
                f"got {self.benign_val:g} and {self.benign_train:g}"
            )
        if self.recipe == "labels_only" and not self.benign_train:
            raise OptionError("labels_only: from which labels? --benign-train SHARE")
        if not self.epochs:
            raise OptionError("epochs: above 0, got 0")
        if not self.alphas or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise OptionError("alphas: one or more, each from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(SharedOptions):
    """What `feedback evaluate` measures, and where."""

    improved: str = option("", "Folder of feedback train", metavar="DIR")
    ood: tuple[str, ...] = option(
        (),
        "Set with labels for its prompts, unlike those that were collected",
        repeat=True,
        metavar=SET,
    )
    eval_limit: int | None = option(
        None, "At most this many prompts of each set", metavar="N"
    )
    draws: int = option(2000, "Bootstrap draws of the intervals")
    ungated: bool = option(
        False,
        "Measure as well what the gate is there to stop: the LoRA at full scale and at "
        "the base guard's threshold",
    )
    strict: bool = option(False, "Exit with 1 if the gate rejected what was learnt")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if not self.improved:
            raise OptionError("what to measure? --improved DIR of feedback train")
        check_range(self, ("draws", "eval_limit"), 1)


# Folders that one stage hands to the next, and a LoRA, on which none is learnt.
NOT_OF_FULL = ("collected", "improved", "adapter")
STAGES_OF_FULL = (CollectOptions, TrainOptions, EvaluateOptions)
# What these mean for all stages together.
HELP_OF_FULL = {
    "out": "Folder for all stages; the same folder goes on",
    "seed": "Seed of all draws, of the parts and of training",
}


def _every_field() -> list[tuple[str, Any, Any]]:
    """Return name, type and field of each option of the stages, each once."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for stage in STAGES_OF_FULL:
        hints = get_type_hints(stage)
        for one in fields(stage):
            if one.name in NOT_OF_FULL or one.name in found:
                continue
            facts = dict(one.metadata)
            facts["help"] = HELP_OF_FULL.get(one.name, facts["help"])
            again = field(default=one.default, metadata=facts, kw_only=True)
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
        if one.name not in NOT_OF_FULL
    }
    return stage(**values | given)
