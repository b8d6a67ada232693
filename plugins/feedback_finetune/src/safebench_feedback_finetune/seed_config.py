"""The keys of an older research_config.json, in the words of these commands.

Each key is taken over, or ignored with the reason: none is dropped without a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = ("dataset", "llama_guard", "llama", "training", "evaluation", "experiment")

# Key -> option, of the same meaning and form.
TAKEN = {
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
# Key -> why it has no counterpart.
IGNORED = {
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
NAMED = {"lmsys/toxic-chat": "toxic_chat", "PKU-Alignment/BeaverTails": "beavertails"}
FILES = (".jsonl", ".csv")
DATASET = ("dataset.path", "dataset.config")
BASE = "llama_guard.base_model_path"
TEXTS = (*DATASET, BASE)
# Words in the name of a key of `experiment` that counts samples.
SIZES = frozenset({"size", "sizes", "sample", "samples", "limit", "max", "num", "n"})


@dataclass(slots=True)
class Translated:
    """Options by their names, what to say about the rest, and what is wrong.

    `unknown` are keys that nobody knows, `wrong` says which values are of another kind.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    known: tuple[str, ...] = (*TAKEN, *IGNORED, *DATASET, BASE)


def is_seed_config(content: Mapping[str, Any]) -> bool:
    """Tell whether keys stand in the sections of a research_config.json."""
    return any(isinstance(content.get(name), dict) for name in SECTIONS)


def translated(content: Mapping[str, Any]) -> Translated:
    """Return a research_config.json as options; null stands for a key not given."""
    found = Translated()
    for key, value in _flat(content):
        if value is None or value == "":
            continue
        if key in SECTIONS:
            found.wrong.append(f"{key}: expected keys and values, got {value!r}")
        elif key in TEXTS:
            _text(found, key, value)
        elif key in TAKEN:
            found.values[TAKEN[key]] = value
        elif key in IGNORED:
            found.notes.append(_ignored(key))
        else:
            _other(found, key, value)
    if not found.wrong:
        _dataset(found, content.get("dataset") or {})
        _guard(found, content.get("llama_guard") or {})
    return found


def _text(found: Translated, key: str, value: Any) -> None:
    if not isinstance(value, str):
        found.wrong.append(f"{key}: expected text, got {value!r}")


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for section, value in content.items():
        if section in SECTIONS and isinstance(value, dict):
            rows += [(f"{section}.{key}", inner) for key, inner in value.items()]
        else:
            rows.append((str(section), value))
    return rows


def _other(found: Translated, key: str, value: Any) -> None:
    """Take a sample size of `experiment` over by its name, or say why not."""
    section, _, name = key.partition(".")
    if section != "experiment":
        found.unknown.append(key)
        return
    words = set(name.casefold().split("_"))
    if not words & SIZES:
        found.notes.append(f"{key} is ignored: it counts no samples")
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        found.wrong.append(f"{key}: expected a number of samples, got {value!r}")
        return
    if words & {"eval", "evaluation", "test"}:
        found.values["eval_limit"] = value
    elif words & {"train", "training", "safe", "unsafe"}:
        found.notes.append(
            f"{key} is ignored: training takes all that was collected, at its natural "
            "mix of classes"
        )
    else:
        found.values["limit"] = value


def _dataset(found: Translated, section: Mapping[str, Any]) -> None:
    """Put path and config into one term, the training split understood."""
    path, config = section.get("path"), section.get("config")
    if not path:
        if config:
            found.notes.append("dataset.config is ignored: there is no dataset.path")
        return
    if path in NAMED:
        found.values["dataset"] = (NAMED[path],)
        if config:
            found.notes.append(
                f"dataset.config is ignored: the set {NAMED[path]} knows its own"
            )
        return
    term = ":".join(filter(None, (str(path), config)))
    found.values["dataset"] = (term if str(path).endswith(FILES) else f"{term}:train",)


def _guard(found: Translated, section: Mapping[str, Any]) -> None:
    """Let the base model stand in for a default model that is not named."""
    base = section.get(BASE.partition(".")[2])
    if base and base != found.values.setdefault("guard", base):
        found.notes.append(
            f"{BASE} is ignored: the guard that collects is the one that learns; "
            "another would be taught errors that are not its own"
        )


def _ignored(key: str) -> str:
    return f"{key} is ignored: {IGNORED[key]}"
