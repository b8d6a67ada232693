"""Which base something was learnt on: hashes of its weights and of how it reads texts.

Adapters mean something on one base alone. A name does not tell two bases apart: a
folder can hold anything, and a branch of a repository moves. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, RunFolderError
from safebench.files import file_state, is_settled, write_json

from .folder_checks import CONFIG_FILE, read_model_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HASHES = "hashes"  # of a base, where an artifact names it
PARTS = ("weights", "config", "tokenizer")
# Artifacts of before have none of these; where there is no such file they say so.
INPUT_PARTS = ("chat_template", "tokenizer_config")
_NONE = "none"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # or their shards
_TOKENIZER_FILE = "tokenizer.json"
# Of tokenizers without that file, which is read in place of all of them.
_SLOW_TOKENIZERS = ("vocab*", "merges.txt", "*.model", "bpe.codes", "*.tiktoken")
# What a library writes into a configuration on its own, and no output depends on.
_COSMETIC = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
_CACHE_FROM_BYTES = 1 << 23  # smaller files are hashed faster than looked up
# The hub's cache links files to blobs: those of large files are named by their SHA-256.
_BLOB = re.compile(r"[0-9a-f]{64}")
_TOKENIZER_CONFIG = "tokenizer_config.json"
# Of earlier libraries; that file comes first where there are both.
_TOKENIZER_SETTINGS = ("special_tokens_map.json", "added_tokens.json")
# What a library notes there on its own, and no input depends on.
_COSMETIC_OF_TOKENIZERS = (
    *("name_or_path", "_name_or_path", "transformers_version", "processor_class"),
    *("tokenizer_file", "special_tokens_map_file", "local_files_only", "is_local"),
)
# By priority: the library takes a file of its own before a key of the configuration.
_TEMPLATE_FILE, _TEMPLATE_FOLDER = "chat_template.jinja", "additional_chat_templates"
_TEMPLATE_KEY = "chat_template"
_TEMPLATE_HOLDERS = (_TOKENIZER_CONFIG, "chat_template.json")
_FILES_OF = {
    "chat_template": f"{_TEMPLATE_FILE} or {_TOKENIZER_CONFIG}",
    "tokenizer_config": _TOKENIZER_CONFIG,
}
_SHOWN_DIGITS = 12


def base_hashes(folder: Path, label: str) -> dict[str, str]:
    """Return the SHA-256 (hex) of each part of a model that its folder holds.

    Weights in one file have the hash of that file. A configuration's is of its values,
    whatever their order, without what a library notes of itself. The chat template's is
    of its text, whichever file holds it; "none" says that there is none.
    """
    hashes = {
        "weights": _joint_hash(_weight_files(folder, label)),
        "tokenizer": _joint_hash(_tokenizer_files(folder)),
    }
    if (folder / CONFIG_FILE).is_file():
        config = read_model_json(folder / CONFIG_FILE, label)
        kept = {key: value for key, value in config.items() if key not in _COSMETIC}
        hashes["config"] = _hash_of_values(kept)
    known = {part: hashes[part] for part in PARTS if hashes.get(part)}
    templates, settings = _chat_templates(folder, label), _settings(folder, label)
    return known | {
        "chat_template": _hash_of_values(templates) if templates else _NONE,
        "tokenizer_config": _hash_of_values(settings) if settings else _NONE,
    }


def _hash_of_values(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _chat_templates(folder: Path, label: str) -> dict[str, Any]:
    """Return the templates that the library would read, by name; {} without any."""
    paths = {path.stem: path for path in (folder / _TEMPLATE_FOLDER).glob("*.jinja")}
    if (folder / _TEMPLATE_FILE).is_file():
        paths["default"] = folder / _TEMPLATE_FILE
    if paths:
        return {
            name: path.read_text(encoding="utf-8", errors="surrogateescape")
            for name, path in paths.items()
        }
    for holder in _TEMPLATE_HOLDERS:
        if (folder / holder).is_file():
            value = read_model_json(folder / holder, label).get(_TEMPLATE_KEY)
            if isinstance(value, list):
                return {
                    str(entry.get("name")): entry.get("template")
                    for entry in value
                    if isinstance(entry, dict)
                }
            if value:
                return {"default": value}
    return {}


def _settings(folder: Path, label: str) -> dict[str, Any]:
    """Return what tells a tokenizer how to use its tokens, by file; {} without any."""
    settings = {}
    for name in (_TOKENIZER_CONFIG, *_TOKENIZER_SETTINGS):
        if (folder / name).is_file():
            values = read_model_json(folder / name, label)
            left_out = (*_COSMETIC_OF_TOKENIZERS, _TEMPLATE_KEY)
            kept = {k: v for k, v in values.items() if k not in left_out}
            if kept:
                settings[name] = kept
    return settings


def base_record(folder: Path, label: str, commit: str) -> dict[str, Any]:
    """Return what a manifest says of the base that something was learnt on."""
    return {"name": label, "revision": commit, HASHES: base_hashes(folder, label)}


def check_base(
    folder: Path,
    label: str,
    stored: Mapping[str, Any],
    learnt: str,
    own: Collection[str] = (),
) -> str:
    """Return a note where it is not known whether `stored` is this base, or "".

    `stored` is a `base_record`, or names a base without its hashes; `learnt` names what
    was learnt on it, and `own` those of `INPUT_PARTS` that it brings itself. Raises
    `ModelError` if it is another base, or one that reads its input in another way.
    """
    name = stored.get("name") or "a base that it does not name"
    known = stored.get(HASHES)
    if not isinstance(known, dict) or not known.get("weights"):
        return (
            f"{learnt} was trained on {name} and does not say by hashes which one "
            f"that was: whether {label} is the same is unknown"
        )
    found = base_hashes(folder, label)
    if not found.get("weights"):
        return f"{learnt}: the weights of {label} are not here, and were not compared"
    for part in PARTS:
        if known.get(part, "") != found.get(part, ""):
            raise ModelError(
                f"{learnt} was trained on {name} ({_shown(known, part)}), and {label} "
                f"is another base ({_shown(found, part)}): name the one it was "
                "trained on"
            )
    for part in INPUT_PARTS:
        if part in known and part not in own and known[part] != found[part]:
            words = part.replace("_", " ")
            raise ModelError(
                f"{learnt} was trained on {name} ({_shown(known, part)}), and {label} "
                f"has the same weights with another {words} ({_shown(found, part)}), "
                "so that it would read other texts: name the one it was trained on, "
                f"or copy its {_FILES_OF[part]}"
            )
    return ""


def _shown(hashes: Mapping[str, Any], part: str) -> str:
    digest = str(hashes.get(part) or "")
    return f"{part} {digest[:_SHOWN_DIGITS] or 'unknown'}"


def _weight_files(folder: Path, label: str) -> list[Path]:
    """Return the files that a library reads weights from, shards in their order."""
    for name in _WEIGHTS:
        # The whole file first: an index may be left of what lay here before.
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = read_model_json(index, label).get("weight_map")
            names = set(shards.values()) if isinstance(shards, dict) else set()
            paths = [folder / str(shard) for shard in sorted(map(str, names))]
            return [path for path in paths if path.is_file()]
    return sorted(folder.glob("*.safetensors"))


def _tokenizer_files(folder: Path) -> list[Path]:
    if (folder / _TOKENIZER_FILE).is_file():
        return [folder / _TOKENIZER_FILE]
    return sorted({path for name in _SLOW_TOKENIZERS for path in folder.glob(name)})


def _joint_hash(files: list[Path]) -> str:
    """Return the hash of one file, or one over those of several, or "" of none."""
    hashes = [file_sha256(path) for path in files]
    if len(hashes) < 2:  # noqa: PLR2004 - one is its own
        return "".join(hashes)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file.

    That of a large file in the hub's cache is the name under which it lies there; of
    other large files it is kept in a cache, by path, size and time of change, unless
    the file was written to a moment ago: the next write might not change the time.
    """
    state = file_state(path)
    size, modified = state[1:3]
    resolved = path.resolve()
    is_blob = path.is_symlink() and resolved.parent.name == "blobs"
    if is_blob and _BLOB.fullmatch(resolved.name):
        return resolved.name  # compared with the content when it was written
    if size < _CACHE_FROM_BYTES:
        return _sha256(path)
    key = [str(resolved), size, modified]
    name = hashlib.sha256(str(resolved).encode()).hexdigest()
    cache_file = _cache_folder() / "sha256" / f"{name}.json"
    entry = _read_cache_entry(cache_file)
    if entry and entry[:-1] == key:
        return str(entry[-1])
    digest = _sha256(path)
    if not is_settled(state):
        return digest
    with suppress(OSError, RunFolderError):  # that it cannot be kept is no error
        write_json(cache_file, [*key, digest])
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_cache_entry(cache_file: Path) -> list[Any] | None:
    try:
        entry = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return entry if isinstance(entry, list) else None


def _cache_folder() -> Path:
    if named := os.environ.get("SAFEBENCH_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base).expanduser() / "safebench"
