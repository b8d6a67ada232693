"""What is read of a model's folder before a library may load anything from it.

A folder can come from anybody. Its files may name Python code to run, and sizes that
no machine has; both are refused here, by reading JSON alone.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE_IS_NEVER_RUN = "safebench never runs code that comes with a model"
CONFIG_FILE, ADAPTER_FILE = "config.json", "adapter_config.json"
# Files in which libraries look for the names of classes.
_FILES_THAT_NAME_CODE = (
    CONFIG_FILE,
    ADAPTER_FILE,
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
# Where a name with a slash is a repository of compiled code.
_KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "experts_implementation")
_MAX_JSON_BYTES = 100 << 20  # the largest tokenizers have a third of that
# Published models have up to some 130 layers, 500 experts and 22,000 classes.
_MAX_REPEATS, _MAX_CLASSES = 1000, 100_000
# Names of numbers of modules: num_hidden_layers, n_layer, encoder_layers, depth ...
_REPEATED = re.compile(r"(n|num)_\w*(layer|block|stage|expert)s?|\w*layers|depths?")
_MAX_ADAPTER_NUMBER, _MAX_RANK = 1_000_000, 16_384
_RANK_KEYS = ("r", "num_virtual_tokens")


def read_model_json(path: Path, label: str) -> dict[str, Any]:
    """Return a JSON object of a model's folder; `ModelError` if it is anything else."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            reason = f"has {path.stat().st_size >> 20} MiB, more than any model needs"
            raise ModelError(f"model {label!r}: {path.name} {reason}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(f"model {label!r}: {path}: {reason}") from None
    except (ValueError, RecursionError):
        raise ModelError(
            f"model {label!r}: {path} is no JSON: copy the model again"
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"model {label!r}: {path} is no JSON object")
    return content


def check_model_folder(folder: Path, label: str) -> None:
    """Raise `ModelError` for a folder that needs its own code, or is a size bomb."""
    for name in _FILES_THAT_NAME_CODE:
        if (folder / name).is_file():
            content = read_model_json(folder / name, label)
            refuse_foreign_code(content, name, label)
            if name == CONFIG_FILE:
                _check_sizes(content, label)
            elif name == ADAPTER_FILE:
                _check_adapter(content, label)


def refuse_foreign_code(content: Any, file: str, label: str) -> None:
    """Raise `ModelError` where a file names code that the library does not have.

    ``auto_map`` of a model that has since become part of the library names classes of
    the library itself: those are loaded, and never the folder's.
    """
    for key, value in _entries(content):
        if key == "auto_map":
            for name in _class_names(value):
                if not _in_library(name):
                    raise ModelError(
                        f"model {label!r} needs code of its own (auto_map in {file} "
                        f"names {name}): {CODE_IS_NEVER_RUN}; one whose classes are "
                        "part of transformers would work"
                    )
        elif key in _KERNEL_KEYS and any("/" in name for name in _class_names(value)):
            raise ModelError(
                f"model {label!r}: {key} in {file} names a repository of code: "
                f"{CODE_IS_NEVER_RUN}; remove that key"
            )
        elif key == "megatron_config" and value is not None:
            # PEFT would import the module that megatron_core names.
            raise ModelError(
                f"model {label!r}: {key} in {file} names a module to import: "
                f"{CODE_IS_NEVER_RUN}"
            )


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield each key and value of nested objects."""
    todo = [content]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield from node.items()
            todo += node.values()
        elif isinstance(node, list):
            todo += node


def _class_names(value: Any) -> Iterator[str]:
    """Yield the names in ``auto_map``, which may be one, several, or an object."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _class_names(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _class_names(item)


def _in_library(name: str) -> bool:
    """Tell whether the class of ``[ORG/REPO--]module.Class`` is in transformers."""
    import transformers

    return isinstance(getattr(transformers, name.rpartition(".")[2], None), type)


def _check_sizes(config: dict[str, Any], label: str) -> None:
    for key, value in _entries(config):
        limit = _MAX_CLASSES if key == "num_labels" else _MAX_REPEATS
        if key == "num_labels" or _REPEATED.fullmatch(key):
            _check_number(key, value, limit, CONFIG_FILE, label)
        if isinstance(value, list | dict):
            _check_number(
                f"{key} (entries)", len(value), _MAX_CLASSES, CONFIG_FILE, label
            )


def _check_adapter(config: dict[str, Any], label: str) -> None:
    for key, value in _entries(config):
        limit = _MAX_RANK if key in _RANK_KEYS else _MAX_ADAPTER_NUMBER
        _check_number(key, value, limit, ADAPTER_FILE, label)
        if key == "rank_pattern" and isinstance(value, dict):
            for name, rank in value.items():
                _check_number(f"{key} {name}", rank, _MAX_RANK, ADAPTER_FILE, label)
        if key == "layer_replication" and isinstance(value, list):
            layers = sum(_span_length(span) for span in value)
            _check_number(key, layers, _MAX_REPEATS, ADAPTER_FILE, label)


def _span_length(span: Any) -> float:
    """Return how many layers a pair of first and last stands for."""
    numbers = span if isinstance(span, list) else [span]
    counts = [number for number in numbers if isinstance(number, int | float)]
    return max(counts) - min(counts) if counts else 0


def _check_number(key: str, value: Any, limit: int, file: str, label: str) -> None:
    if isinstance(value, int | float) and value > limit:
        raise ModelError(
            f"model {label!r}: {key} is {value} in {file}, and no model has more than "
            f"{limit}: copy the model again"
        )
