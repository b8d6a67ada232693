"""What only a service can say of a classifier, asked before anything is recorded."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from safebench.checksums import unsealed
from safebench.identity import json_mapping
from safebench.isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.specs import ClassifierSpec

STATE_FILE = "state.json"


class Resolved(Protocol):
    """A classifier whose options are known, but for what its service says."""

    @property
    def label(self) -> str:
        """Its name in the run."""

    @property
    def spec(self) -> ClassifierSpec:
        """What the plugin declares."""

    @property
    def options(self) -> Any:
        """Its options."""

    @property
    def request(self) -> Mapping[str, Any]:
        """What its evidence is stored for."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A classifier's options after its service was asked.

    Stored evidence is read only if it has `facts`.
    """

    options: Any
    facts: Mapping[str, Any]


def settle_all(
    classifiers: Sequence[Resolved], stored: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Settled]:
    """Return what services say of classifiers, by label; the others are left out.

    `stored` is what was recorded before, the oldest first, each with its ``request``,
    ``facts`` and ``state``. Raises what classifiers raise, which ends the run: its
    folder is of all of them.
    """
    settled = {}
    for classifier in classifiers:
        spec = classifier.spec
        if not spec.settle:
            continue
        own = [
            {"identity": entry["request"].get("identity"), **_without_request(entry)}
            for entry in stored
            if _is_by(entry["request"], classifier.request)
        ]
        settle = spec.import_object(spec.settle)
        with isolated(spec):
            options, facts = settle(classifier.options, own)
            facts = json_mapping(facts, "settle")
        if facts or options != classifier.options:
            settled[classifier.label] = Settled(options, facts)
    return settled


def _without_request(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "request"}


def _is_by(stored: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Tell whether a classifier recorded something, whatever model it was then."""
    names = ("classifier", "producer")
    return all(stored.get(name) == request[name] for name in names)


def stored_evidence(root: Path) -> list[dict[str, Any]]:
    """Return what evidence an evidence folder holds, the oldest first."""
    # here, since it loads numpy: nothing heavy is imported before evidence is there
    from safebench.evidence.manifest import (
        DamagedError,
        EvidenceManifest,
        manifest_paths,
    )

    stored = []
    for path in sorted(manifest_paths(root), key=lambda path: path.stat().st_mtime):
        with suppress(DamagedError):  # said where evidence is read
            manifest = EvidenceManifest.read(path)
            state = _state(path.with_name(STATE_FILE))
            stored.append(
                {"request": manifest.request, "facts": manifest.facts, "state": state}
            )
    return stored


def _state(path: Path) -> dict[str, Any]:
    """Return what a classifier stored beside its evidence; empty where it cannot be."""
    try:
        state = unsealed(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    return dict(state)
