"""What only a service can say of a classifier, asked before anything is recorded."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from safebench.checksums import unsealed
from safebench.errors import SafebenchError
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
    """A classifier's options after its service was asked, or why it cannot run.

    Stored evidence is read only if it has `facts`.
    """

    options: Any
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: SafebenchError | None = None


def settle_all(
    classifiers: Sequence[Resolved], root: Path | None = None
) -> dict[str, Settled]:
    """Return what services say of classifiers, by label; the others are left out.

    `root` is the evidence folder of the run, None where nothing is stored.
    """
    settled = {}
    for classifier in classifiers:
        spec = classifier.spec
        if not spec.settle:
            continue
        stored = _stored(root, classifier) if root else []
        try:
            settle = spec.import_object(spec.settle)
            with isolated(spec):
                options, facts = settle(classifier.options, stored)
                facts = json_mapping(facts, "settle")
        except SafebenchError as error:
            settled[classifier.label] = Settled(classifier.options, error=error)
            continue
        if facts or options != classifier.options:
            settled[classifier.label] = Settled(options, facts)
    return settled


def _stored(root: Path, classifier: Resolved) -> list[dict[str, Any]]:
    """Return what evidence of a classifier is stored, the oldest first.

    Whether its identity is that of today is for the classifier to say.
    """
    # here, since it loads numpy: nothing heavy is imported before evidence is there
    from safebench.evidence.store import (
        DamagedError,
        EvidenceManifest,
        manifest_paths,
    )

    paths = sorted(manifest_paths(root), key=lambda path: path.stat().st_mtime)
    stored = []
    for path in paths:
        with suppress(DamagedError, KeyError):  # said where evidence is read
            manifest = EvidenceManifest.read(path)
            if any(
                manifest.request[name] != classifier.request[name]
                for name in ("classifier", "producer")
            ):
                continue
            stored.append(
                {
                    "identity": manifest.request["identity"],
                    "facts": manifest.facts,
                    "state": _state(path.with_name(STATE_FILE)),
                }
            )
    return stored


def _state(path: Path) -> dict[str, Any]:
    """Return what a classifier stored beside its evidence; empty where it cannot be."""
    try:
        state = unsealed(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    return dict(state)
