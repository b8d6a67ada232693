"""The options of the `feedback` commands: one dataclass each.

A field is a flag of the command, and a key in the file of ``--config``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

DATASET_METAVAR = "NAME[:CONFIG][:SPLIT]|FILE"
DATASETS_WITH_RESPONSES = "beavertails, diasafety, xstest_response, pku_safe_rlhf"
REPLAY = "replay"  # the generator that takes the responses of a dataset


def option(default: Any, help_: str, **metadata: Any) -> Any:
    """Return a dataclass field with the help of its flag.

    Of the metadata, ``repeat=True`` makes a flag that may be given several times,
    `flags` are its names if not that of the field, `metavar` stands for its value.
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
            allowed = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
            raise OptionError(f"{name}: {allowed}, got {value:g}")


def check_open_unit_interval(options: Any, *names: str) -> None:
    """Raise OptionError for an option that is not above 0 and below 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            raise OptionError(f"{name}: between 0 and 1, got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOptions:
    """Options of every command: the guard, where it runs, how datasets are read."""

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


# Options of training that came later, with what is as it was before them: a training
# that does not use one is the same as an earlier version's.
LATER_OPTIONS: dict[str, Any] = {"set": (), "blocked": "replay"}
_OF_JUDGE = (
    *("judge_strategy", "judge_calibrator", "judge_calibrate", "judge_trained_on"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectOptions(SharedOptions):
    """Options of `feedback collect`: prompts, who answers them, and the folder."""

    dataset: tuple[str, ...] = option(
        (),
        "Prompts to ask: a dataset by name (without SPLIT its training split), or a "
        "file (.jsonl, .json, .csv, .tsv, .parquet)",
        repeat=True,
        flags=("-d", "--dataset"),
        metavar=DATASET_METAVAR,
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
    output_guard: str = option(
        "",
        "Who judges responses, if not the guard: any classifier that answers "
        "response_harm; its probability is the soft label",
        metavar="CLASSIFIER[,KEY=VALUE...]",
    )
    judge_strategy: str = option(
        "",
        "Strategy by which --output-guard is read (default: its own)",
        metavar="STRATEGY[,KEY=VALUE...]",
    )
    judge_calibrator: str = option(
        "",
        "What safebench calibrate stored for this classifier and strategy",
        metavar="FILE",
    )
    judge_calibrate: tuple[str, ...] = option(
        (),
        "Responses that people labelled, to make probabilities of the judge's scores "
        "by Platt scaling",
        repeat=True,
        metavar=DATASET_METAVAR,
    )
    judge_trained_on: tuple[str, ...] = option(
        (),
        "What the judge learnt from, where its own folder does not tell: prompts like "
        "these are not evaluated",
        repeat=True,
        metavar=DATASET_METAVAR,
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
        """Raise OptionError for values that are missing or out of range."""
        if not self.dataset:
            raise OptionError(
                "which prompts? --dataset NAME; with responses: "
                f"{DATASETS_WITH_RESPONSES}"
            )
        if not self.out:
            raise OptionError("where to? --out DIR")
        check_open_unit_interval(self, "threshold")
        check_range(self, ("answers", "max_new_tokens", "save_every", "limit"), 1)
        check_range(self, ("temperature", "seed"), 0)
        if not 0 < self.top_p <= 1:
            raise OptionError(f"top_p: above 0, at most 1, got {self.top_p:g}")
        if self.answers > 1 and not self.temperature:
            raise OptionError("at temperature 0 all answers are the same: --answers 1")
        if not self.output_guard and any(getattr(self, name) for name in _OF_JUDGE):
            raise OptionError(
                "--judge-... options are of another judge than the guard: name it "
                "with --output-guard CLASSIFIER"
            )
        if self.judge_calibrator and self.judge_calibrate:
            raise OptionError(
                "--judge-calibrator has a map to probabilities, and --judge-calibrate "
                "fits one: leave one out"
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
class FeedbackTrainOptions(SharedOptions):
    """Options of `feedback train`: examples, loss, LoRA, and what is certified."""

    collected: str = option("", "Folder of feedback collect", metavar="DIR")
    out: str = option(
        "", "Folder for what is learnt; the same folder goes on", metavar="DIR"
    )
    benign: tuple[str, ...] = option(
        (),
        "Prompts that people labelled (without SPLIT the training split): the harmless "
        "ones show the gate false positives",
        repeat=True,
        metavar=DATASET_METAVAR,
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
    blocked: Literal["replay", "judged"] = option(
        "replay",
        "Prompts that the guard blocked: replayed without a label, or labelled by an "
        "output guard that judged the responses to them",
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
    batch_size: int = option(
        16, "Prompts in a batch, which the processes of a launcher share"
    )
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
    set: tuple[str, ...] = option(
        (),
        "Any field of transformers.TrainingArguments, where it is used",
        repeat=True,
        metavar="KEY=VALUE",
    )
    registration: str = option(
        "",
        "A committed file that says what will be measured: what is trained is held to "
        "it, and evaluate refuses to read the test part without it",
        metavar="FILE",
    )
    strict: bool = option(False, "Exit with 1 if the gate rejects what was learnt")
    seed: int = option(0, "Seed of parts, draws and training")

    def __post_init__(self) -> None:
        """Raise OptionError for values that are missing or out of range."""
        if not self.collected:
            raise OptionError("which collection? --collected DIR of feedback collect")
        if not self.out:
            raise OptionError("where to? --out DIR")
        if not self.benign:
            raise OptionError(
                "which prompts may not be flagged? --benign NAME, of prompts that "
                "people labelled, such as toxic_chat: what the guard itself let pass "
                "cannot show its false positives"
            )
        check_open_unit_interval(self, "cap", "delta")
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
    """Options of `feedback evaluate`: what is measured, and on which sets."""

    improved: str = option("", "Folder of feedback train", metavar="DIR")
    ood: tuple[str, ...] = option(
        (),
        "Set with labels for its prompts, unlike those that were collected",
        repeat=True,
        metavar=DATASET_METAVAR,
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
    registration: str = option(
        "",
        "The committed file by which the training is registered; its hash stands "
        "beside the results",
        metavar="FILE",
    )
    strict: bool = option(False, "Exit with 1 if the gate rejected what was learnt")

    def __post_init__(self) -> None:
        """Raise OptionError for values that are missing or out of range."""
        if not self.improved:
            raise OptionError("what to measure? --improved DIR of feedback train")
        check_range(self, ("draws", "eval_limit"), 1)


# `full` sets the folders between stages itself, and no LoRA is learnt on top of one.
NOT_IN_FULL = ("collected", "improved", "adapter")
FULL_STAGES = (CollectOptions, FeedbackTrainOptions, EvaluateOptions)
# Options that mean more in `full` than in a single stage.
FULL_HELP = {
    "out": "Folder for all stages; the same folder goes on",
    "seed": "Seed of all draws, of the parts and of training",
}


def _full_fields() -> list[tuple[str, Any, Any]]:
    """Return name, type and field of each option of the stages, each name once."""
    by_name: dict[str, tuple[str, Any, Any]] = {}
    for stage in FULL_STAGES:
        hints = get_type_hints(stage)
        for option_field in fields(stage):
            name = option_field.name
            if name in NOT_IN_FULL or name in by_name:
                continue
            metadata = dict(option_field.metadata)
            metadata["help"] = FULL_HELP.get(name, metadata["help"])
            copied = field(
                default=option_field.default, metadata=metadata, kw_only=True
            )
            by_name[name] = (name, hints[name], copied)
    return list(by_name.values())


# Made from the stages' fields rather than written out, so that a new option of a stage
# is one of `full` as well.
FullOptions = make_dataclass("FullOptions", _full_fields(), frozen=True, slots=True)
FullOptions.__module__ = __name__
FullOptions.__doc__ = "Options of `feedback full`: those of all stages."


def stage_options(stage: type[Any], full: Any, **overrides: Any) -> Any:
    """Return the options of one stage out of those of `full`, with some overridden."""
    values = {
        option_field.name: getattr(full, option_field.name)
        for option_field in fields(stage)
        if option_field.name not in NOT_IN_FULL
    }
    return stage(**values | overrides)
