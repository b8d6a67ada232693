"""Options of the trainer and the classifiers; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

TFIDF = "tfidf"
STACK = "stack"
MINILM = "minilm"


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


# Options of the bases that are fitted whole, and not trained in steps.
_USED_BY_TFIDF = frozenset({"base", "w_single", "conflicts", "cross_fit"})
_USED_BY = {
    TFIDF: _USED_BY_TFIDF,
    STACK: _USED_BY_TFIDF
    | {"encoder", "revision", "layers", "max_length", "w_rank", "w_sign", "margin"}
    | {"smoothing", "dtype"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTrainOptions:
    """How a cost model is trained; 0 where a number depends on the base."""

    base: str = _option(
        "Qwen/Qwen3-0.6B-Base",
        "hub id or folder of a decoder or an encoder, minilm, tfidf (a baseline), or "
        "stack (tfidf and a frozen encoder)",
    )
    encoder: str = _option(
        MINILM, "encoder of a stack, which stays as it is: hub id, folder or minilm"
    )
    revision: str = _option("", "hub commit of the base, or of the encoder")
    full: bool = _option(default=False, text="train all weights, not adapters (LoRA)")
    pooling: Literal["own", "mean"] = _option(
        "own",
        "what an encoder's cost is read from: its own pooling, or the mean states of "
        "prompt and response",
    )
    layers: int = _option(0, "layers of the base that are kept, from below; 0: all")
    members: int = _option(
        1, "networks, each of another seed, whose mean cost is the model's"
    )
    sft: bool = _option(
        default=False, text="first learn to write the safer responses (decoders)"
    )
    epochs: float = _option(3.0, "passes over the training pairs")
    batch: int = _option(16, "pairs in one step")
    lr: float = _option(0.0, "peak learning rate; 0: 1e-4 for adapters, 2e-5 for all")
    max_length: int = _option(
        512, "tokens of prompt and response; prompts lose their left"
    )
    w_rank: float = _option(2.0, "weight of the ranking term")
    w_sign: float = _option(1.0, "weight of the two sign terms")
    w_single: float = _option(
        1.0,
        "weight of the sign term of a response labelled alone (--singles), where each "
        "of a pair has w_sign",
    )
    margin: float = _option(
        0.5, "gap asked for per level of severity, where there are any"
    )
    reg: float = _option(1e-3, "weight of the mean squared cost")
    smoothing: float = _option(0.0, "share of every label that is moved to one half")
    lora_r: int = _option(16, "rank of the adapters")
    lora_alpha: int = _option(32, "scale of the adapters, times the rank")
    lora_dropout: float = _option(0.05, "dropout before the adapters")
    weight_decay: float = _option(0.01, "decay of the weights")
    warmup: float = _option(0.06, "share of the steps until the peak rate")
    evaluations: int = _option(2, "evaluations in an epoch")
    patience: int = _option(
        4, "evaluations without a gain until training stops; 0: never"
    )
    select: Literal["merit", "loss", "sign_accuracy", "ranking_accuracy"] = _option(
        "merit", "what the best evaluation is best at; merit: mean of both accuracies"
    )
    sft_epochs: float = _option(1.0, "passes of the supervised stage")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _option(
        "auto",
        "number format of the arithmetic, and of a base under adapters; auto: bfloat16 "
        "on a GPU that has it",
    )
    quantize: Literal["none", "4bit"] = _option(
        "none", "4bit: hold the base under adapters in 4 bits (needs the extra qlora)"
    )
    conflicts: Literal["error", "skip"] = _option(
        "error", "what to do with pairs whose labels contradict their order"
    )
    # No part of what is trained: a finished training can be resumed with it.
    cross_fit: int = field(
        default=0,
        metadata={
            "help": "train this many more models, each without the prompts of one "
            "fold, and measure them out of fold on all rows of --dataset; 0: none",
            "identity": False,
        },
    )

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "max_length", "lora_r", "evaluations", "members")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} is not above 0")
        at_least_0 = ("lr", "w_rank", "w_sign", "w_single", "margin", "reg")
        for name in (*at_least_0, "sft_epochs", "layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is below 0")
        for name in ("smoothing", "warmup", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is no share below 1")
        if not self.w_rank and not self.w_sign:
            raise ValueError("w_rank and w_sign are both 0: nothing to learn")
        self._check_base()
        if self.quantize != "none" and self.full:
            raise ValueError(
                "quantize=4bit: weights in 4 bits do not learn; a decoder's adapters do"
            )

    def _check_base(self) -> None:
        """Raise `ValueError` for what does not go with the base, or is ignored."""
        if self.cross_fit < 0 or self.cross_fit == 1:
            raise ValueError(f"cross_fit={self.cross_fit}: 2 folds or more, or 0")
        if self.base in _USED_BY and self.members > 1:
            raise ValueError(f"members={self.members}: the base {self.base} is one")
        used = _USED_BY.get(self.base)
        for option in fields(self):
            value = getattr(self, option.name)
            if used is None and option.name == "encoder" and value != MINILM:
                raise ValueError(f"encoder={value}: it is of --base {STACK} alone")
            if used is not None and option.name not in used and value != option.default:
                raise ValueError(
                    f"{option.name}={value}: the base {self.base} does not use it; "
                    "leave it out"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """Which cost model scores, and how it reads texts.

    `model` is a folder that ``safebench train cost_model`` wrote, or a hub id or folder
    of a sequence classifier with one output. `template` is for models that carry none:
    ``qa`` (question and answer), ``beaver`` (PKU's own cost models) or ``pair`` (two
    texts, for encoders). 0 for `max_length` is the artifact's own.
    """

    model: str = ""
    revision: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    template: Literal["auto", "qa", "beaver", "pair"] = "auto"
    max_length: int = 0
    batch_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("max_length", "batch_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a count, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Which stack scores: a folder that ``--base stack`` wrote, or a hub id.

    Of the latter `revision` names a commit.
    """

    model: str = ""
    revision: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int = 0

    def __post_init__(self) -> None:
        if self.batch_tokens < 0:
            raise ValueError("batch_tokens is a count, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineOptions:
    """Which baseline scores: a folder that ``--base tfidf`` wrote, or a hub id.

    Of the latter `revision` names a commit.
    """

    model: str = ""
    revision: str = ""
