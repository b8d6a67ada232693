"""What a user sets of `transformers.TrainingArguments`, checked before data are read.

The library notices most mistakes late: a metric without that name after the first
evaluation, an optimizer whose package is missing once data and model are loaded, a
count of steps of 0 not at all. So values are checked here, and the optimizer and the
schedule are made once on a network of one weight.
"""

from __future__ import annotations

import enum
import math
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import torch
import transformers
from transformers.integrations import integration_utils

from safebench.config_file import parse_training_arguments
from safebench.errors import OptionError, SafebenchError, did_you_mean
from safebench.options import convert

from .loading import quiet_transformers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_LATER = "safebench push shares the finished folder"
_SHARDED = (
    "weights are not sharded here; accelerate launch shares the rows among processes, "
    "and adapters in bfloat16 or 4 bits need the least memory"
)
_OURS = "the trainer decides it"
_NOTHING = "it has no effect here"
# Fields that a user cannot set, each with the flag to use, or the reason.
_RESERVED_ARGUMENTS = {
    "output_dir": "--out",
    "resume_from_checkpoint": "--resume",
    **dict.fromkeys(("seed", "data_seed"), "--seed"),
    **dict.fromkeys(
        (
            *("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id"),
            *("hub_strategy", "hub_always_push", "hub_revision"),
        ),
        _LATER,
    ),
    **dict.fromkeys(
        ("deepspeed", "fsdp", "fsdp_config", "parallelism_config"), _SHARDED
    ),
    **dict.fromkeys(
        (
            *("label_names", "remove_unused_columns", "length_column_name"),
            *("train_sampling_strategy", "include_for_metrics", "batch_eval_metrics"),
            *("prediction_loss_only", "eval_do_concat_batches", "use_cache"),
            *("eval_use_gather_object", "accelerator_config", "disable_tqdm"),
            *("restore_callback_states_from_checkpoint", "auto_find_batch_size"),
            "average_tokens_across_devices",
        ),
        _OURS,
    ),
    **dict.fromkeys(
        (
            *("do_train", "do_eval", "do_predict", "include_num_input_tokens_seen"),
            *("bf16_full_eval", "fp16_full_eval"),
        ),
        _NOTHING,
    ),
    "local_rank": "the launcher numbers the processes",
    "ignore_data_skip": "a resumed training would see rows twice",
    "save_only_model": "a training could not be resumed",
}
# The library's earlier names, and those of now.
_RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "warmup_ratio": "warmup_steps, below 1 a share of all steps",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "adam_beta": "adam_beta1 or adam_beta2",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
}
_ALIASES = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}
# Least values of numbers that the library computes with before it looks at them, or
# takes for "not given"; a tuple of one says that the value itself is too small.
_LEAST: dict[str, float | tuple[float]] = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "eval_accumulation_steps": 1,
    "num_train_epochs": (0,),
    "learning_rate": 0,
    "weight_decay": 0,
    "warmup_steps": 0,
    "max_grad_norm": 0,
    "adam_beta1": 0,
    "adam_beta2": 0,
    "adam_epsilon": (0,),
    "label_smoothing_factor": 0,
    "neftune_noise_alpha": 0,
    "logging_steps": (0,),
    "eval_steps": (0,),
    "save_steps": (0,),
    "eval_delay": 0,
    "save_total_limit": 1,
    "dataloader_num_workers": 0,
    "dataloader_prefetch_factor": 1,
    "torch_empty_cache_steps": 1,
    "ddp_timeout": 1,
    "ddp_bucket_cap_mb": 1,
}
_BELOW_ONE = ("adam_beta1", "adam_beta2", "label_smoothing_factor")
_MOST_WORKERS = 64  # each of them is a process
# Trackers whose library has another name.
_TRACKER_LIBRARIES = {"azure_ml": "azureml", "comet_ml": "comet"}
# What the library raises for arguments, and for packages that are not there.
_REFUSALS = (
    *(ImportError, ValueError, TypeError, RuntimeError, OSError, LookupError),
    *(AttributeError, AssertionError),
)


class TrainingOverrides:
    """What a user sets of `transformers.TrainingArguments` by ``--set``.

    `overrides` are names and values, or texts ``KEY=VALUE``; `values` are the fields,
    converted to their type. Raises `OptionError` for a field that the trainer decides
    itself (`reserved` adds to those, with the flag to use or the reason), that is
    unknown (with the nearest name), or that cannot hold its value. `metrics` are what
    evaluations return; the best state may be the best in one.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | Sequence[str],
        reserved: Mapping[str, str] | None = None,
        *,
        metrics: Collection[str] = (),
    ) -> None:
        if not isinstance(overrides, Mapping):
            overrides = parse_training_arguments(tuple(overrides))
        known = [f.name for f in fields(transformers.TrainingArguments) if f.init]
        hints = get_type_hints(transformers.TrainingArguments)
        refused = {**_RESERVED_ARGUMENTS, **(reserved or {})}
        self.metrics = metrics
        self.values: dict[str, Any] = {}
        for given, value in overrides.items():
            if given in refused:
                raise OptionError(f"--set {given}: {_refusal(refused[given])}")
            if given not in known:
                raise OptionError(_unknown(given, known))
            where = f"--set {given}"
            name = _ALIASES.get(given, given)
            name = name if name in known else given
            if name in self.values:
                raise OptionError(f"{where}: {name} is set, too, and means the same")
            self.values[name] = _converted(value, hints[given], where)
            _check_number(given, self.values[name])
        self._check_metric()

    def _check_metric(self) -> None:
        """Raise `OptionError` for a best state by what no evaluation returns."""
        name = self.values.get("metric_for_best_model")
        if name is None or not self.metrics:
            return
        plain = name.removeprefix("eval_")
        if plain not in self.metrics:
            raise OptionError(
                f"--set metric_for_best_model: evaluations return no {name!r}"
                f"{did_you_mean(plain, list(self.metrics))}; there is: "
                f"{', '.join(self.metrics)}"
            )
        # Ours stands for the metric of our choice, and would keep the largest loss.
        self.values.setdefault("greater_is_better", not plain.endswith("loss"))

    def build(
        self,
        defaults: Mapping[str, Any],
        fixed: Mapping[str, Any] | None = None,
        *,
        one_gpu: bool = False,
    ) -> transformers.TrainingArguments:
        """Build the library's arguments; `OptionError` in one line if it refuses them.

        The user's values replace `defaults`, and `fixed` ones replace the user's. With
        `one_gpu` a process uses one GPU, however many it sees: the library would spread
        the batches of a network over all of them.
        """
        source = "--set" if self.values else "training"
        values = {**defaults, **self.values, **(fixed or {})}
        self._follow_evaluations(values, fixed or {})
        try:
            arguments = transformers.TrainingArguments(**values)
            _check_hardware(arguments)
            if self.values:
                _try_optimizer(arguments)
        except SafebenchError:
            raise
        except _REFUSALS as error:
            raise OptionError(f"{source}: {_one_line(error)}") from error
        _check_trackers(arguments, source)
        if one_gpu:
            arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - no option for it
        return arguments

    def _follow_evaluations(
        self, values: dict[str, Any], fixed: Mapping[str, Any]
    ) -> None:
        """Let saving follow evaluating, where the best state is kept, and check both.

        The best state can only be kept if each evaluated state is saved: who sets one
        of the two intervals means both.
        """
        if values.get("load_best_model_at_end"):
            pairs = (
                ("eval_strategy", "save_strategy"),
                *(("eval_steps", "save_steps"), ("save_steps", "eval_steps")),
            )
            for name, follower in pairs:
                if name in self.values and follower not in self.values:
                    values[follower] = values[name]
            if values.get("eval_strategy") == "no":  # the last state is kept
                values["load_best_model_at_end"] = False
        for kind in ("eval", "save", "logging"):
            steps, strategy = f"{kind}_steps", f"{kind}_strategy"
            if (
                steps in self.values
                and strategy not in fixed
                and values.get(strategy, "steps") != "steps"
            ):
                raise OptionError(
                    f"--set {steps}: it has an effect with {strategy}=steps alone, "
                    f"and that is {values[strategy]}"
                )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn a failure of the library into one line, where there are overrides.

        They can ask for packages that are not installed, and for what does not go
        together; the library notices while it trains. Without any, an error is a fault
        of ours that should be seen whole.
        """
        try:
            yield
        except SafebenchError:
            raise
        except Exception as error:
            if tracker := self._tracker_of(error):
                raise OptionError(
                    f"--set report_to={tracker} failed: {_one_line(error)}"
                ) from error
            known = isinstance(error, _REFUSALS)
            if not known or not (self.values or isinstance(error, ImportError)):
                raise
            arguments = " ".join(f"{name}={x}" for name, x in self.values.items())
            given = f" with --set {arguments}" if self.values else ""
            raise OptionError(f"training{given} failed: {_one_line(error)}") from error

    def _tracker_of(self, error: Exception) -> str:
        """Return the tracker that was set, if the error is one of its own, or ""."""
        given = self.values.get("report_to") or []
        names = [given] if isinstance(given, str) else given
        package = type(error).__module__.partition(".")[0]
        by_package = {_TRACKER_LIBRARIES.get(name, name): name for name in names}
        return by_package.get(package, "")


def _refusal(reason: str) -> str:
    return f"use {reason} instead" if reason.startswith("--") else reason


def _unknown(name: str, known: list[str]) -> str:
    hint = (
        f", it is {_RENAMED[name]}" if name in _RENAMED else did_you_mean(name, known)
    )
    return f"--set {name}: transformers.TrainingArguments has no such field{hint}"


def _converted(value: Any, hint: Any, where: str) -> Any:
    """Return a value of text or YAML as the type of its field, or raise `OptionError`.

    Words of an enumeration are checked here: the library names no near one.
    """
    for choices in (h for h in get_args(hint) if _is_enumeration(h)):
        words = [choice.value for choice in choices]
        if isinstance(value, bool):  # YAML reads a bare no as false
            value = "no" if not value and "no" in words else str(value)
        if isinstance(value, str) and value and value not in words:
            near = did_you_mean(value, words)
            listed = "" if near else f"; there is: {', '.join(words)}"
            raise OptionError(f"{where}: {value!r} is unknown{near}{listed}")
    if isinstance(value, dict) and "dict" in str(hint):
        return value
    if where.endswith("report_to") and value in (None, "none"):
        return "none"  # a word to the library, and not what is not there
    return convert(value, hint, where)


def _is_enumeration(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def _check_number(name: str, value: Any) -> None:
    """Raise `OptionError` for a number that no training can use."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    where = f"--set {name}: {value:g}"
    if not math.isfinite(value):
        raise OptionError(f"{where} is not from 0 up, and finite")
    if name == "max_steps" and value < 1 and value != -1:
        raise OptionError(f"{where} is not from 1 up; -1 counts epochs")
    least = _LEAST.get(name)
    if isinstance(least, tuple):
        if value <= least[0]:
            raise OptionError(f"{where} is not above {least[0]}, and finite")
    elif least is not None and value < least:
        raise OptionError(f"{where} is not from {least} up, and finite")
    if name in _BELOW_ONE and value >= 1:
        raise OptionError(f"{where} is not below 1")
    if name == "dataloader_num_workers" and value > _MOST_WORKERS:
        raise OptionError(f"{where} is above {_MOST_WORKERS}: each is a process")


def _check_hardware(arguments: transformers.TrainingArguments) -> None:
    """Raise `OptionError` for what is noticed late: float16 on a CPU, no kernels."""
    if arguments.use_liger_kernel and find_spec("liger_kernel") is None:
        raise OptionError("--set use_liger_kernel: liger-kernel is not installed")
    if arguments.fp16 and arguments.device.type == "cpu":
        raise OptionError(
            "fp16 needs a GPU, and this training is on the CPU: bf16 or fp32 would work"
        )


def _try_optimizer(arguments: transformers.TrainingArguments) -> None:
    """Make optimizer and schedule for one weight: raise what the library raises."""
    network: Any = torch.nn.Linear(1, 1)
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            make, settings = transformers.Trainer.get_optimizer_cls_and_kwargs(
                arguments, network
            )
        except _REFUSALS as error:
            optim: Any = arguments.optim
            raise OptionError(
                f"--set optim={optim.value}: {_one_line(error)}"
            ) from error
        # Those that choose among layers bring their own groups of weights.
        if "optimizer_dict" in settings or "params" in settings:
            return
        optimizer = make(network.parameters(), **settings)
        schedule: Any = transformers.get_scheduler
        schedule(
            arguments.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=0,
            num_training_steps=10,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )


def _check_trackers(arguments: transformers.TrainingArguments, source: str) -> None:
    """Raise `OptionError` for a tracker that is not installed, or that is unknown."""
    names = arguments.report_to
    trackers = [names] if isinstance(names, str) else names or []
    library: Any = integration_utils
    try:
        library.get_reporting_integration_callbacks(trackers)
    except ValueError as error:
        raise OptionError(f"{source} report_to: {_one_line(error)}") from error
    for name in trackers:
        # A tracker itself is not made: some log an error when they cannot be.
        library_name = _TRACKER_LIBRARIES.get(name, name)
        available = getattr(library, f"is_{library_name}_available", None)
        if available and not available():
            raise OptionError(
                f"{source} report_to={name}: {name} is not installed; install it, or "
                "leave report_to out"
            )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
