"""Stored JSON that knows what it was: checksums of lines and files, and their check.

What is read back decides what is trained, certified and reported. A line or a manifest
ends with a checksum of the rest, and a manifest lists those of the files beside it.
Early versions wrote none of them: there types alone are checked.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from safebench.errors import SafebenchError

CHECKSUM = "checksum"
_DIGITS = 16  # hex
_MAX_PROBLEM = 200  # characters of a message


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return content, JSON values by name, with a checksum of all the others."""
    kept = {key: value for key, value in content.items() if key != CHECKSUM}
    return {**kept, CHECKSUM: _digest(kept)}


def unsealed(content: Any) -> dict[str, Any]:
    """Return sealed content without its checksum.

    Raises TypeError if it is no object, and ValueError if it was changed.
    """
    kept = dict(checked(content, dict))
    checksum = kept.pop(CHECKSUM, None)
    if checksum is not None and checksum != _digest(kept):
        raise ValueError("its checksum is another one: it was changed")
    return kept


def _digest(content: Mapping[str, Any]) -> str:
    # As it is written: tuples are lists there, and what JSON cannot hold is text.
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def parse_sealed(data: bytes) -> dict[str, Any]:
    """Return the object in JSON text; raises ValueError, TypeError, RecursionError."""
    return unsealed(json.loads(data.decode("utf-8")))


def file_checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the checksum of each of these files that exists, by name."""
    checksums = {}
    for name in names:
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
            checksums[name] = digest.hexdigest()[:_DIGITS]
    return checksums


def changed_file(folder: Path, checksums: Any) -> str | None:
    """Return the first file of a stored table that is missing or was changed.

    `checksums` is what `file_checksums` returned; early manifests have None.
    """
    if not isinstance(checksums, dict):
        return None
    now = file_checksums(folder, map(str, checksums))
    return next((name for name in checksums if now.get(name) != checksums[name]), None)


def checked(value: Any, *kinds: type) -> Any:
    """Return a value of a JSON file; raises TypeError if it is of another type.

    A truth value is no number, though Python counts it as one.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{value!r} where {names} is expected")
    return value


def checked_probability(value: Any) -> float:
    """Return a stored probability; raises TypeError or ValueError for another value."""
    p: float = checked(value, int, float)
    if not 0 <= p <= 1:  # NaN is in no interval
        raise ValueError(f"{p!r} is no probability")
    return p


@contextmanager
def damage_named(
    where: Path | str, error_class: type[SafebenchError], remedy: str
) -> Iterator[None]:
    """Turn what stored content of another shape raises into one line."""
    try:
        yield
    except (
        *(KeyError, TypeError, ValueError, AttributeError, IndexError),
        *(RecursionError, OverflowError),
    ) as error:
        lacks = f"lacks {error}" if isinstance(error, KeyError) else ""
        problem = " ".join((lacks or str(error)).split())[:_MAX_PROBLEM]
        raise error_class(f"{where} is damaged ({problem}): {remedy}") from None
