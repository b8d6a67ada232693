"""What tells two recorded guards apart, found without loading either.

Weights are hashed once and remembered by path, size and time in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.engine import ENGINE_VERSION
from safebench.policies import load_policy

from .locate import locate, weight_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .locate import Located, What
    from .options import GuardOptions

# Beside the weights, these change what a model says.
_SMALL = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_RECORD = (
    "dtype",
    "attention",
    "layout",
    "format",
    "max_length",
    "truncation",
    "batch_tokens",
    "draft",
    "refill",
    "eps",
    "max_nodes",
    "max_new_tokens",
    "grammar",
    "stop",
    "delta",
    "tau",
    "width",
    "mc_samples",
    "mc_seed",
    "seed_top_p",
    "seed_eps",
    "seed_max_new_tokens",
)
_REMEMBERED = 1 << 23  # bytes; smaller files are hashed faster than looked up


def identity(options: GuardOptions) -> dict[str, Any]:
    """Return JSON of the model's hashes and of every option that shapes evidence.

    `model` and `revision` are names for people; the other keys tell guards apart.
    The device is a fact of the loaded model, and joins them there.
    """
    found = locate(options.model, options.revision)
    adapter = locate(options.adapter, what="adapter") if options.adapter else None
    policy = load_policy(options.policy)
    return {
        "model": found.label + (f" + {adapter.label}" if adapter else ""),
        "revision": found.commit,
        "weights": fingerprint(found),
        "adapter": fingerprint(adapter, "adapter") if adapter else "",
        "policy": f"{policy.id}@{policy.version}:{policy.hash}",
        "engine": ENGINE_VERSION,
        "record": {name: getattr(options, name) for name in _RECORD},
    }


def fingerprint(found: Located, what: What = "model") -> str:
    """Return the hub commit of a located model, or the SHA-256 over its files."""
    if found.commit:
        return f"{found.label}@{found.commit}"
    small = (found.folder / name for name in _SMALL)
    files = [path for path in small if path.is_file()]
    return _joint_digest([*weight_files(found.folder, what), *files])


def _joint_digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\x1f{file_digest(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, from the cache if it has not changed."""
    stat = path.stat()
    if stat.st_size < _REMEMBERED:
        return _hash(path)
    where = str(path.resolve())
    key = [where, stat.st_size, stat.st_mtime_ns]
    name = hashlib.sha256(where.encode()).hexdigest()
    memory = _cache_folder() / "sha256" / f"{name}.json"
    remembered = _recall(memory)
    if remembered and remembered[:-1] == key:
        return str(remembered[-1])
    digest = _hash(path)
    _remember(memory, [*key, digest])
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _recall(memory: Path) -> list[Any] | None:
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, list) else None


def _remember(memory: Path, entry: list[Any]) -> None:
    """Store an entry whole; a cache that cannot be written is no error."""
    part = memory.with_suffix(f".{os.getpid()}.part")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(entry), encoding="utf-8")
        part.replace(memory)
    except OSError:
        with suppress(OSError):
            part.unlink()


def _cache_folder() -> Path:
    if named := os.environ.get("SAFEBENCH_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base).expanduser() / "safebench"
