"""Which files of an artifact are shared, and with what content.

Nothing is shared because it lies there: a plugin lists the files that loading needs.
Those of text are cleaned of this machine's paths, and refused if some are left.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from safebench.checksums import bytes_checksum, sealed
from safebench.errors import DataError, ModelError

from .artifact import Artifact
from .card import CARD_FILE, render_card
from .card_regions import own_text
from .licences import UNKNOWN, licences_of_bases, licences_of_data
from .local_paths import local_path_in, token_in, without_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins

    from .description import DescribedArtifact

# Wherever they lie, whatever a plugin says: states, logs, texts and scores of rows.
_NEVER = (
    *("**/optimizer*", "**/scheduler*", "**/rng_state*", "**/training_args.bin"),
    *("**/trainer_state.json", "**/*.log", "**/events.out.tfevents*", "**/*.jsonl"),
    *("**/*.jsonl.*", "**/*.part", "**/*.tmp", "checkpoint-*/**", "**/*.pyc"),
)
_JSON_TO_CLEAN = (
    *("config.json", "adapter_config.json", "generation_config.json", "member.json"),
    *("tokenizer_config.json", "promise.json", "learned.json"),
)
# Of these a path is cleaned; all else in a tokenizer's file may look like one.
_PATH_KEYS = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file")
_BASE_KEY = "base_model_name_or_path"
_HUB_SEPARATOR = "/"  # a name without it is a folder's


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file as it is shared: its path there, and the file here or its new content."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Its size in bytes."""
        if isinstance(self.source, bytes):
            return len(self.source)
        return self.source.stat().st_size


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """The files that are shared, those that stay here, and what to think of first."""

    files: tuple[SharedFile, ...]
    kept: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        """The size of all in bytes."""
        return sum(file.size for file in self.files)


def select_files(
    artifact: DescribedArtifact,
    plugins: Plugins,
    name: str,
    *,
    base: str = "",
    allow_rejected: bool = False,
) -> SharedFiles:
    """Return what to share of an artifact under the name ORG/NAME.

    `base` is the hub id of the base where the training knew a folder. Raises
    `SafebenchError` for an artifact that its gate rejected (unless `allow_rejected`),
    that nobody else could load, for a file that is not known, and for one that would
    give away a path or a token.
    """
    description, folder = artifact.description, artifact.folder
    if description.rejected and not allow_rejected:
        raise ModelError(
            f"{folder}: {description.rejected}; --allow-rejected shares it all the "
            "same, with a card that says so"
        )
    if not description.share:
        trainer = artifact.manifest.get("trainer")
        raise ModelError(
            f"{folder}: the plugin of the trainer {trainer!r} does not say which files "
            "serve for loading (ArtifactSpec), and nothing is shared unseen"
        )
    named_base = _base_for_others(artifact, base)
    shared, kept = _sorted_out(folder, description.share, description.keep)
    files = [
        SharedFile(relative, _content(folder / relative, named_base))
        for relative in shared
    ]
    files.append(SharedFile(CARD_FILE, _card(artifact, plugins, name, base)))
    manifest = _manifest(artifact, files, base)
    files.append(SharedFile(Artifact.MANIFEST, manifest))
    files.sort(key=lambda file: file.name)
    for file in files:
        _check_content(file, folder)
    return SharedFiles(tuple(files), tuple(kept), tuple(_warnings(artifact, plugins)))


def _base_for_others(artifact: DescribedArtifact, base: str) -> str:
    """Return the base's name for others; `ModelError` if it is known here alone."""
    bases = artifact.description.bases
    name = str(bases[0].get("name") or "") if bases else ""
    if artifact.description.needs_base and not base and _HUB_SEPARATOR not in name:
        raise ModelError(
            f"{artifact.folder} is loaded on its base {name!r}, a folder of this "
            "machine: --base ORG/NAME says where others find it"
        )
    return base or name


def _sorted_out(
    folder: Path, share: Sequence[str], keep: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return paths that are shared and that stay; raise for one of neither kind."""
    shared, kept, unknown = [], [], []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() and not path.is_symlink():
            continue
        name = relative.as_posix()
        if name in (CARD_FILE, Artifact.MANIFEST):
            continue  # made anew
        if any(part.startswith(".") for part in relative.parts):
            continue  # locks, and what belongs to other programs
        if _matches(name, _NEVER):
            kept.append(name)
        elif path.is_symlink():
            unknown.append(name)  # whatever it leads to is no file of the artifact
        elif _matches(name, share):
            shared.append(name)
        else:
            (kept if _matches(name, keep) else unknown).append(name)
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""  # noqa: PLR2004
        raise DataError(
            f"{folder} holds files that no training left there, and that are not "
            f"shared unseen: {', '.join(unknown[:3])}{more}; move them elsewhere"
        )
    if not shared:
        raise ModelError(f"{folder} holds no weights to share: train it again")
    return shared, kept


def _matches(name: str, patterns: Iterable[str]) -> bool:
    parts = name.split("/")
    return any(_parts_match(parts, pattern.split("/")) for pattern in patterns)


def _parts_match(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Tell whether the parts of a path match those of a pattern; ``**`` is any many."""
    if not patterns:
        return not parts
    first, *rest = patterns
    if first == "**":
        return any(_parts_match(parts[i:], rest) for i in range(len(parts) + 1))
    matching = bool(parts) and fnmatchcase(parts[0], first)
    return matching and _parts_match(parts[1:], rest)


def _content(path: Path, base: str) -> Path | bytes:
    """Return a file, or the JSON of one that libraries put paths into, without them."""
    if path.name not in _JSON_TO_CLEAN:
        return path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelError(f"{path} is no JSON: train it again") from None
    if not isinstance(content, dict):
        return path
    cleaned = {
        key: without_paths(value) if key in _PATH_KEYS else value
        for key, value in content.items()
    }
    if _BASE_KEY in cleaned:
        cleaned[_BASE_KEY] = base or without_paths(cleaned[_BASE_KEY])
    return path if cleaned == content else _json(cleaned)


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _card(artifact: DescribedArtifact, plugins: Plugins, name: str, base: str) -> bytes:
    """Return the model card under the name that others see.

    One that was edited outside of its marks is taken as it is.
    """
    path = artifact.folder / CARD_FILE
    try:
        own = own_text(path)
    except DataError:
        return path.read_bytes()
    return render_card(artifact, plugins, name, own, base=base).encode()


def _manifest(
    artifact: DescribedArtifact, files: Sequence[SharedFile], base: str
) -> bytes:
    """Return the manifest without paths, with checksums of what is shared alone."""
    content = {**artifact.manifest, **artifact.description.manifest}
    stored = content.get("base")
    if base and isinstance(stored, dict):
        revision = stored.get("revision") if stored.get("name") == base else ""
        content["base"] = {**stored, "name": base, "revision": revision}
    if isinstance(content.get("files"), dict):
        by_name = {file.name: file.source for file in files}
        content["files"] = {
            # One whose JSON was cleaned has another checksum.
            name: bytes_checksum(source) if isinstance(source, bytes) else checksum
            for name, checksum in content["files"].items()
            if (source := by_name.get(name)) is not None
        }
    return _json(sealed(without_paths(content)))


def _check_content(file: SharedFile, folder: Path) -> None:
    """Raise `DataError` for a text that names a path of this machine, or a token."""
    name = file.name.rpartition("/")[2]
    is_text = name in (*_JSON_TO_CLEAN, CARD_FILE, Artifact.MANIFEST)
    if not is_text:
        return
    data = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
    text = data.decode("utf-8", errors="replace")
    if path := local_path_in(text, folder, known_only=name == "tokenizer_config.json"):
        raise DataError(
            f"{file.name} would give away a path of this machine ({path}): take it "
            "out, and push again"
        )
    if token_in(text):
        raise DataError(
            f"{file.name} holds what looks like a token of a service: take it out, "
            "and push again"
        )


def _warnings(artifact: DescribedArtifact, plugins: Plugins) -> Iterator[str]:
    description = artifact.description
    if description.rejected:
        yield f"{description.rejected}: the card says so"
    data = licences_of_data(artifact.sources, plugins)
    bases = licences_of_bases(description.bases)
    for licence in (*data, *bases):
        if licence.forbids:
            yield f"{licence.name}: {licence.stated} forbids {licence.forbids}"
        elif licence.id == UNKNOWN:
            yield f"{licence.name}: licence {licence.stated}: ask before you publish it"
        if licence.asks:
            yield f"{licence.name}: {licence.asks}"
    for pattern in description.words_of_texts:
        yield f"{pattern} holds words of the training texts"
    known = any((base.get("hashes") or {}).get("weights") for base in description.bases)
    if description.needs_base and not known:
        yield "it does not know its base by hash: others can put it on another"
