"""Tokenizers that would never end, or fill the memory, refused before they read a text.

Replacements can multiply a text without bound, and so can a template of special
tokens; regular expressions can take exponential time. The first two show in the file,
the last is tried in a process of its own that can be ended.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError

from .folder_checks import read_model_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
