"""Translate an older research_config.json into options of the `feedback` commands.

Every key becomes an option, or is reported with the reason why it is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = ("dataset", "llama_guard", "llama", "training", "evaluation", "experiment")

# Keys with an option of the same meaning and type.
OPTION_BY_KEY = {
    "llama_guard.default_model_path": "guard",
    "llama.base_model_path": "generator",
    "training.batch_size": "batch_size",
    "training.gradient_accumulation_steps": "gradient_accumulation",
    "training.learning_rate": "learning_rate",
    "training.epochs": "epochs",
    "training.weight_decay": "weight_decay",
    "training.warmup_steps": "warmup_steps",
    "evaluation.improved_model_path": "improved",
    "evaluation.max_eval_samples": "eval_limit",
    "seed": "seed",
}
# Keys without a counterpart, and the reason.
IGNORED_KEYS = {
    "dataset.split_ratios": (
        "prompts are cut by clusters into train, val, calib and test, not row by row"
    ),
    "dataset.store_dir": "rows stay in the cache of the datasets library",
    "training.output_dir": "name the folder with --out",
    "training.logging_steps": "validation comes at fixed steps, with every measure",
    "training.save_steps": "the best state on the validation part is kept, no other",
    "training.save_total_limit": "one state is kept",
    "evaluation.results_dir": "results go into the folder of --out",
}
DATASET_NAMES = {
    "lmsys/toxic-chat": "toxic_chat",
    "PKU-Alignment/BeaverTails": "beavertails",
}
FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz")
DATASET_KEYS = ("dataset.path", "dataset.config")
BASE_MODEL_KEY = "llama_guard.base_model_path"
TEXT_KEYS = (*DATASET_KEYS, BASE_MODEL_KEY)
# A key of `experiment` with one of these words in its name counts samples.
SAMPLE_SIZE_WORDS = frozenset(
    {"size", "sizes", "sample", "samples", "limit", "max", "num", "n"}
)


@dataclass(slots=True)
class LegacyOptions:
    """A translated file: option values, notes on ignored keys, unknown keys, errors."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    known_keys: tuple[str, ...] = (
        *OPTION_BY_KEY,
        *IGNORED_KEYS,
        *DATASET_KEYS,
        BASE_MODEL_KEY,
    )


def is_legacy_config(content: Mapping[str, Any]) -> bool:
    """Return whether a file has a section of a research_config.json."""
    return any(isinstance(content.get(name), dict) for name in SECTIONS)


def translate_legacy_config(content: Mapping[str, Any]) -> LegacyOptions:
    """Return a research_config.json as options; null or "" counts as an absent key."""
    options = LegacyOptions()
    for key, value in _flatten(content):
        if value is None or value == "":
            continue
        if key in SECTIONS:
            options.errors.append(f"{key}: expected keys and values, got {value!r}")
        elif key in TEXT_KEYS:
            _require_text(options, key, value)
        elif key in OPTION_BY_KEY:
            options.values[OPTION_BY_KEY[key]] = value
        elif key in IGNORED_KEYS:
            options.notes.append(f"{key} is ignored: {IGNORED_KEYS[key]}")
        else:
            _translate_other(options, key, value)
    # These combine several keys, so they wait until each key alone is known to be good.
    if not options.errors:
        _translate_dataset(options, content.get("dataset") or {})
        _translate_guard(options, content.get("llama_guard") or {})
    return options


def _flatten(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return keys as ``section.key`` with their values."""
    pairs: list[tuple[str, Any]] = []
    for section, value in content.items():
        if section in SECTIONS and isinstance(value, dict):
            pairs += [(f"{section}.{key}", inner) for key, inner in value.items()]
        else:
            pairs.append((str(section), value))
    return pairs


def _require_text(options: LegacyOptions, key: str, value: Any) -> None:
    if not isinstance(value, str):
        options.errors.append(f"{key}: expected text, got {value!r}")


def _translate_other(options: LegacyOptions, key: str, value: Any) -> None:
    """Translate a sample size of `experiment` by the words of its name.

    `experiment` has no fixed set of keys, so no table can list them.
    """
    section, _, name = key.partition(".")
    if section != "experiment":
        options.unknown_keys.append(key)
        return
    words = set(name.casefold().split("_"))
    if not words & SAMPLE_SIZE_WORDS:
        options.notes.append(f"{key} is ignored: it counts no samples")
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        options.errors.append(f"{key}: expected a number of samples, got {value!r}")
        return
    if words & {"eval", "evaluation", "test"}:
        options.values["eval_limit"] = value
    elif words & {"train", "training", "safe", "unsafe"}:
        options.notes.append(
            f"{key} is ignored: training takes all that was collected, at its natural "
            "mix of classes"
        )
    else:
        options.values["limit"] = value


def _translate_dataset(options: LegacyOptions, section: Mapping[str, Any]) -> None:
    """Join path and config to the name of a dataset, of its training split."""
    path, config = section.get("path"), section.get("config")
    if not path:
        if config:
            options.notes.append("dataset.config is ignored: there is no dataset.path")
        return
    if path in DATASET_NAMES:
        options.values["dataset"] = (DATASET_NAMES[path],)
        if config:
            options.notes.append(
                f"dataset.config is ignored: the set {DATASET_NAMES[path]} "
                "knows its own"
            )
        return
    term = ":".join(filter(None, (str(path), config)))
    options.values["dataset"] = (
        term if str(path).endswith(FILE_SUFFIXES) else f"{term}:train",
    )


def _translate_guard(options: LegacyOptions, section: Mapping[str, Any]) -> None:
    """Use the base model as the guard if no default model is named."""
    base = section.get(BASE_MODEL_KEY.partition(".")[2])
    if base and base != options.values.setdefault("guard", base):
        options.notes.append(
            f"{BASE_MODEL_KEY} is ignored: the guard that collects is the one that "
            "learns; another would be taught errors that are not its own"
        )
