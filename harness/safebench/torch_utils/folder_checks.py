"""What is read of a model's folder before a library may load anything from it.

A folder can come from anybody. Its files may name Python code to run, sizes that no
machine has, and tokenizers that never end or fill the memory: replacements can multiply
a text without bound, and so can a template of special tokens; regular expressions can
take exponential time. All is refused here by reading JSON alone, but for the last,
which is tried in a process of its own that can be ended.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
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
    # A stack of its own: a folder of strangers may nest deeper than Python recurses.
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


TOKENIZER_FILE = "tokenizer.json"
_MAX_GROWTH = 1000  # characters that one may become
_MAX_ADDED = 1000  # characters or tokens that are put around a text
_MAX_WORD = 1000  # characters: WordPiece takes quadratic time in them; published: 100
PROBE_SECONDS = 20
# Of tokenizers of common models: no need to try those.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_KNOWN_EXPRESSIONS = frozenset(
    {
        rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}",  # Llama 3
        rf"{_WORDS}|\p{{N}}|{_REST}",  # Qwen 2 and 3
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        " {2,}",  # T5
        r"\s+",
        r"\d",
    }
)
_PROBE = """
import json, sys
try:
    import resource
    limit = 4 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
except (ImportError, ValueError, OSError):
    pass
from tokenizers import Tokenizer
path, characters = sys.argv[1:]
tokenizer = Tokenizer.from_file(path)
tokenizer.no_truncation()
tokenizer.no_padding()
for unit in [*json.loads(characters), "word ", "a b", "1a", "\\u00e9", "\\n", " \\n"]:
    for count in (40, 4000):
        for end in ("", "!", "\\u2603"):
            tokenizer.encode(unit * count + end)
"""


def check_tokenizer(folder: Path, label: str) -> None:
    """Raise `ModelError` for a tokenizer.json that is a bomb in time or memory."""
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return
    content = read_model_json(path, label)
    steps = [*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))]
    growth = math.prod(map(_growth, steps))
    if growth > _MAX_GROWTH:
        _refuse(label, f"can make {growth:.0e} characters of one")
    added = max((_length(step.get("prepend"), str) for step in steps), default=0)
    if added > _MAX_ADDED:
        _refuse(label, f"puts {added} characters before each text")
    for step in _steps(content.get("post_processor")):
        added = max(_length(step.get(name), list) for name in ("single", "pair"))
        if added > _MAX_ADDED:
            _refuse(label, f"puts {added} special tokens around each text")
    model = content.get("model")
    limit = model.get("max_input_chars_per_word") if isinstance(model, dict) else None
    if isinstance(limit, int | float) and limit > _MAX_WORD:
        _refuse(label, f"reads words of up to {limit} characters in quadratic time")
    expressions = set(filter(None, map(_expression, steps))) - _KNOWN_EXPRESSIONS
    if expressions:
        _try_expressions(path, sorted(expressions), label)


def _length(value: Any, kind: type[str | list[Any]]) -> int:
    return len(value) if isinstance(value, kind) else 0


def _expression(step: dict[str, Any]) -> str:
    """Return the regular expression of a step; empty if it has none."""
    pattern = step.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, dict) else None
    return expression if isinstance(expression, str) else ""


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """Yield a part of a tokenizer and the parts within, however deep."""
    todo = [part]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if "type" in node:
                yield node
            todo += node.values()
        elif isinstance(node, list):
            todo += node


def _growth(step: dict[str, Any]) -> float:
    """Return how many characters a replacement makes of one, at most."""
    content, pattern = step.get("content"), step.get("pattern")
    if not isinstance(content, str) or not isinstance(pattern, dict):
        return 1.0
    literal = pattern.get("String")
    if isinstance(literal, str) and literal:
        return max(1.0, len(content) / len(literal))
    return 1.0 + len(content) if len(content) > 1 else 1.0


def _try_expressions(path: Path, expressions: list[str], label: str) -> None:
    """Let a process of its own read hard texts with the tokenizer, for some seconds."""
    letters = "".join(expressions)
    characters = sorted({c for c in letters if c.isalnum()} | set(" a0A-_.'"))[:40]
    command = [sys.executable, "-I", "-c", _PROBE, str(path), json.dumps(characters)]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and the text above
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            env=os.environ | {"RUST_BACKTRACE": "0"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        _refuse(label, f"takes more than {PROBE_SECONDS} s for short texts")
    if done.returncode:
        _refuse(
            label, f"fails on plain texts, by its expression {expressions[0][:60]!r}"
        )


def _refuse(label: str, what: str) -> None:
    raise ModelError(f"model {label!r}: its {TOKENIZER_FILE} {what}: not loaded")
