"""Options of the trainer, the classifiers and the strategies; without heavy imports."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from safebench.errors import OptionError, did_you_mean
from safebench.records import TASKS

Device = str
FROZEN_SUFFIX = "-frozen"
TFIDF = "tfidf"
BALANCED = "balanced"
N_CLASSES = 2  # of what is trained here: safe, harmful


def _help(text: str) -> dict[str, Any]:
    return {"help": text}


def _execution_help(text: str) -> dict[str, Any]:
    """Describe an option that may change when a training is resumed."""
    return {"help": text, "identity": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleTrainOptions:
    """How an ensemble is trained; the defaults are those of the published recipe.

    `base` is an encoder (hub id, folder, ``minilm``), or one of the baselines
    ``tfidf`` and ``minilm-frozen``, which have no members.
    """

    members: int = field(default=6, metadata=_help("How many encoders."))
    base: str = field(
        default="distilbert-base-uncased",
        metadata=_help(
            "Encoder to start from: hub id, folder or minilm; or tfidf, minilm-frozen."
        ),
    )
    bases: tuple[str, ...] = field(
        default=(), metadata=_help("Encoders for the members in turn.")
    )
    revision: str = field(default="", metadata=_help("Hub revision of the base."))
    epochs: float = field(default=3.0, metadata=_help("Passes over the training rows."))
    batch_size: int = field(default=16, metadata=_help("Rows a step."))
    grad_accumulation: int = field(default=1, metadata=_help("Batches a step."))
    lr: float = field(default=1e-5, metadata=_help("Peak learning rate."))
    warmup: float = field(
        default=0.0, metadata=_help("Share of the steps with a rising learning rate.")
    )
    weight_decay: float = field(default=0.0, metadata=_help("Weight decay of AdamW."))
    max_length: int = field(default=256, metadata=_help("Tokens a prompt is cut to."))
    class_weights: tuple[str, ...] = field(
        default=(),
        metadata=_help(
            "Weight of a row in the loss by its class: balanced, or SAFE,HARMFUL."
        ),
    )
    patience: int = field(
        default=2,
        metadata=_help("Epochs without a better validation F1 before the end."),
    )
    bagging: bool = field(
        default=False, metadata=_help("Draw each member's rows anew.")
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = field(
        default="auto",
        metadata=_help("Number format of the arithmetic; weights stay in fp32."),
    )
    device: Device = field(
        default="auto", metadata=_execution_help("auto, cpu, cuda, mps or xpu.")
    )
    parallel: Literal["none", "processes"] = field(
        default="none",
        metadata=_execution_help(
            "Train members one after another, or in processes side by side."
        ),
    )
    workers: int = field(
        default=0, metadata=_execution_help("Processes; 0: one a GPU, two on a CPU.")
    )
    eval_tokens: int = field(
        default=16384,
        metadata=_execution_help("Tokens an evaluation batch holds, padding too."),
    )

    def __post_init__(self) -> None:
        for name in ("members", "batch_size", "grad_accumulation", "patience"):
            self._check_minimum(name, 1)
        self._check_minimum("max_length", 8)  # special tokens and a few words
        self._check_minimum("eval_tokens", 1)
        self._check_minimum("workers", 0)
        for name in ("epochs", "lr"):
            if not 0 < getattr(self, name) < inf:
                raise OptionError(f"{name}: above 0, got {getattr(self, name)}")
        self._check_class_weights()
        if not 0 <= self.warmup < 1:
            raise OptionError(f"warmup: a share in [0, 1), got {self.warmup}")
        if len(self.bases) > self.members:
            raise OptionError(
                f"bases: {len(self.bases)} are named for {self.members} members"
            )
        if baselines := [
            base for base in self.bases if base == TFIDF or base.endswith(FROZEN_SUFFIX)
        ]:
            raise OptionError(
                f"bases: {baselines[0]} is a baseline without members; train it by "
                f"--base {baselines[0]}"
            )
        if ":" in self.device:
            raise OptionError(
                f"device: a kind such as cuda, not {self.device!r}; choose among GPUs "
                "with CUDA_VISIBLE_DEVICES"
            )

    def _check_class_weights(self) -> None:
        if self.class_weights in ((), (BALANCED,)):
            return
        if self.is_baseline:
            raise OptionError(f"class_weights: {self.base} takes none")
        try:
            weights = tuple(map(float, self.class_weights))
        except ValueError:
            weights = ()
        if len(weights) != N_CLASSES or not all(0 < w < inf for w in weights):
            raise OptionError(
                f"class_weights: {BALANCED}, or the weights of safe and of harmful "
                f"rows such as 1,2.5, got {','.join(self.class_weights)!r}"
            )

    def _check_minimum(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise OptionError(f"{name}: at least {least}, got {getattr(self, name)}")

    @property
    def is_baseline(self) -> bool:
        """Tell whether the base is one that is not trained in steps."""
        return self.base == TFIDF or self.base.endswith(FROZEN_SUFFIX)

    @property
    def member_bases(self) -> tuple[str, ...]:
        """The base of each member, in order."""
        names = self.bases or (self.base,)
        return tuple(names[i % len(names)] for i in range(self.members))


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleOptions:
    """Which ensemble classifies, and how it reads texts.

    `model` is a trained ensemble's folder, or any sequence-classification checkpoint
    (folder or hub id) as an ensemble of one. `profile` says what its outputs mean:
    ``auto`` finds that of a published model, NAME or a YAML file is one, ``none`` is
    none. Without a profile `classes` names the outputs ("a+b"), `harmful` those that
    mean harm, where the model's own names do not tell, `link` whether they exclude each
    other (softmax) or stand alone (sigmoid), and `task` what they answer. `tokenizer`
    is where the tokenizer is (folder or hub id), if the model has none.

    A text longer than `max_length` (0: the model's own) is read in windows that overlap
    by a quarter, at most `max_windows`, or cut at its ``right`` end. `batch_tokens`
    bounds a batch, padding included (0: by device).

    With `mc_dropout` K each member reads a text K times with its dropout on, and the
    passes are the members.
    """

    model: str = ""
    revision: str = ""
    profile: str = "auto"
    harmful: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    link: Literal["", "softmax", "sigmoid"] = ""
    task: str = ""
    tokenizer: str = ""
    max_length: int = 0
    truncation: Literal["windows", "right"] = "windows"
    max_windows: int = 32
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Device = "auto"
    batch_tokens: int = 0
    mc_dropout: int = 0

    def __post_init__(self) -> None:
        for name in ("max_length", "batch_tokens", "mc_dropout"):
            if getattr(self, name) < 0:
                raise OptionError(f"bert_ensemble: {name} is a count, 0 or more")
        if self.max_windows < 1:
            raise OptionError("bert_ensemble: max_windows is at least 1")
        if self.task and self.task not in TASKS:
            raise OptionError(
                f"bert_ensemble: no task {self.task!r}{did_you_mean(self.task, TASKS)}"
                f"; there is: {', '.join(TASKS)}"
            )
        if self.profile not in ("auto", "none"):
            for name in ("harmful", "classes", "link"):
                if getattr(self, name):
                    raise OptionError(
                        f"bert_ensemble: {name}= and profile={self.profile} both say "
                        "what the classes mean: give one of them"
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TfidfOptions:
    """`model`: what ``safebench train bert_ensemble --base tfidf`` left.

    A folder, or a hub id, of which `revision` names a commit.
    """

    model: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenOptions:
    """Which frozen encoder classifies, and how it runs.

    `model` is a training's folder or a hub id, of which `revision` names a commit;
    `max_length`, `truncation`, `max_windows` and `batch_tokens` as for an ensemble.
    """

    model: str = ""
    revision: str = ""
    max_length: int = 0
    truncation: Literal["windows", "right"] = "windows"
    max_windows: int = 32
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Device = "auto"
    batch_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How the windows of a long text become one.

    `windows`: the ``worst`` one (largest mean probability of harm) is read alone, or
    the ``least`` one, or the ``first``, or each member's logits are averaged over
    windows (``mean``). ``auto`` is the worst of a long text, and the least of
    documents, one chunk of which suffices to bear a response out.

    `calibration`: ``auto`` is that of the training, where the model carries one, and
    ``none`` the probability as the members give it.
    """

    windows: Literal["auto", "worst", "least", "mean", "first"] = "auto"
    calibration: Literal["auto", "none"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOptions(PoolOptions):
    """How the windows of a long text become one, and when a member votes for harm.

    A member votes for harm from a probability of `at` on. The literature counts the
    likelier class, 0.5; where decisions are made at another threshold, votes at that
    one tell which decisions the members part on.
    """

    at: float = 0.5

    def __post_init__(self) -> None:
        """Raise OptionError for a share that no vote turns on."""
        if not 0 < self.at < 1:
            raise OptionError(f"at={self.at:g}: a vote turns between 0 and 1, try 0.5")
