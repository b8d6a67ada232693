"""What recorded the evidence under a key: ``evidence/<key>/evidence.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from safebench.files import make_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST_FILE = "evidence.json"


class DamagedError(ValueError):
    """A stored file is not what it was when it was written; the text says why."""


def evidence_key(request: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (16 hex digits) of everything that changes evidence."""
    # Sorted keys: the order in which options were given changes nothing.
    text = json.dumps([request, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class EvidenceManifest:
    """What recorded the evidence under a key.

    `request` is known before the model is loaded, `facts` (device, number format)
    only after.
    """

    key: str
    request: dict[str, Any]
    facts: dict[str, Any]

    def write(self, root: Path) -> None:
        """Write the manifest beside the evidence, once."""
        path = root / self.key / MANIFEST_FILE
        if not path.exists():
            make_folder(path.parent)
            write_json(path, {"request": self.request, "facts": self.facts})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest; raises `DamagedError` unless it is that of its folder."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            request, facts = stored["request"], stored["facts"]
        except (
            FileNotFoundError,  # a link to nothing
            IsADirectoryError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
        ):
            raise DamagedError("cannot be read") from None
        if not isinstance(request, dict) or not isinstance(facts, dict):
            raise DamagedError("cannot be read")
        key = path.parent.name
        if evidence_key(request, facts) != key:
            raise DamagedError("describes evidence of another key")
        return cls(key, request, facts)


def manifest_paths(root: Path) -> list[Path]:
    """Return the manifests in a run's evidence folder, by key."""
    return sorted(root.glob(f"*/{MANIFEST_FILE}"))
