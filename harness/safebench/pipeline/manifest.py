"""The run folder: its name, whose run it holds, and its manifest.

Whose run it is: its models and record options, its datasets by name, and the rows that
those names stood for. A name and a path alone do not say it: a file may be edited, or
another one may bear its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safebench.checksums import CHECKSUM, sealed
from safebench.datasets.row_bytes import ROWS_DIGEST, row_bytes
from safebench.errors import DataError, RunFolderError
from safebench.files import set_aside, write_json
from safebench.provenance import command_line, differences, package_versions
from safebench.redaction import redact_secrets
from safebench.results import RESULTS_FILE
from safebench.results.rows import SCHEMA, read_rows
from safebench.results.run_files import (
    EVIDENCE_FOLDER,
    FILES,
    MANIFEST_FILE,
    PREDICTIONS_FOLDER,
    parse_manifest,
)
from safebench.results.stored_texts import TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.datasets.pack import Pack
    from safebench.records import Dataset

    from .evidence_set import EvidenceSet
    from .resolved import ResolvedClassifier

MAX_FOLDER_NAME = 120  # characters; file systems end at 255 bytes
DataChange = Literal["same", "extended", "other"]


def run_identity(
    classifiers: Sequence[ResolvedClassifier], datasets: Sequence[str]
) -> dict[str, Any]:
    """Return what makes two runs the same: models, record options, datasets."""
    return {
        "classifiers": {c.label: c.request for c in classifiers},
        "datasets": sorted(datasets),
    }


def default_folder(
    classifiers: Sequence[ResolvedClassifier], datasets: Sequence[str]
) -> Path:
    """Return ``runs/<classifiers>-<datasets>``, with the models that users chose."""
    names = [
        f"{c.label}@{Path(c.model).name}"
        if getattr(c.options, "model", "")
        else c.label
        for c in classifiers
    ]
    return Path("runs") / _slug("+".join(names) + "-" + "+".join(datasets))


def _slug(text: str) -> str:
    slug = re.sub(r"[^\w.@+-]+", "_", text)
    if len(slug) <= MAX_FOLDER_NAME:
        return slug
    digest = hashlib.sha256(slug.encode()).hexdigest()[:8]  # long names stay distinct
    return f"{slug[:MAX_FOLDER_NAME]}-{digest}"


def check_run_folder(
    folder: Path, identity: dict[str, Any], datasets: Sequence[Dataset]
) -> None:
    """Raise `RunFolderError` if a folder holds another run, saying what differs.

    `datasets` are whole, whatever the limit: rows may have been appended to them since,
    but what was stored must be about rows that are still there. A run that measured
    nothing, as of a model that could not be loaded, is in nobody's way.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; name a folder with --out")
        return
    content = read_manifest(path)
    stored = content.get("identity")
    if not isinstance(stored, dict):
        raise RunFolderError(
            f"{path} is damaged, so that nobody knows whose run {folder} holds; name "
            f"another folder with --out, or delete {path} if it was this run"
        )
    expected = json.loads(json.dumps(identity, default=str))  # as it would be stored
    # datasets may join: what is stored about others stays as it is
    differing = list(
        differences(stored | {"datasets": []}, expected | {"datasets": []})
    )
    if differing and holds_nothing(folder):
        return
    if differing:
        lines = "\n  ".join(differing[:5])
        raise RunFolderError(
            f"{folder} holds another run; name another folder with --out\n  {lines}"
        )
    if _has_results(folder):  # evidence alone is found by its texts, and not by names
        for dataset in datasets:
            _check_data(folder, dataset, _fingerprints(content).get(dataset.label))


def holds_nothing(folder: Path) -> bool:
    """Tell whether a run folder has neither recordings nor a row with a value."""
    if any((folder / name).exists() for name in (EVIDENCE_FOLDER, PREDICTIONS_FOLDER)):
        return False
    try:
        return all(row.value is None for row in read_rows(folder / RESULTS_FILE))
    except FileNotFoundError:
        return True
    except (DataError, OSError):  # nobody knows what stood there
        return False


def clear_if_other(folder: Path, identity: dict[str, Any]) -> None:
    """Remove manifest and rows of another run that measured nothing."""
    stored = stored_identity(folder)
    expected = json.loads(json.dumps(identity, default=str))
    if not stored or stored.get("classifiers") == expected["classifiers"]:
        return
    if holds_nothing(folder):
        for name in (RESULTS_FILE, MANIFEST_FILE):
            (folder / name).unlink(missing_ok=True)


def stored_identity(folder: Path) -> dict[str, Any]:
    """Return the identity of the run that a folder holds; empty where nobody knows."""
    stored = _known_manifest(folder).get("identity")
    return stored if isinstance(stored, dict) else {}


def _known_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest before anybody knows whether it is a run folder.

    A path that cannot be one is refused by `check_run_folder`, in its own words.
    """
    try:
        return read_manifest(folder / MANIFEST_FILE)
    except (OSError, RunFolderError):
        return {}


def _check_data(folder: Path, dataset: Dataset, stored: DataFingerprint | None) -> None:
    """Raise `RunFolderError` if a folder's results are about other rows."""
    # folders of early versions do not say which rows they are about
    if stored is None or stored.change_to(dataset) != "other":
        return
    raise RunFolderError(
        f"{folder} holds results of other data called {dataset.label}: "
        f"{stored.rows} rows there, {len(dataset)} asked for, and they are not the "
        "same rows with some more at the end; name another folder with --out, or "
        f"delete {folder}"
    )


def _has_results(folder: Path) -> bool:
    return (folder / RESULTS_FILE).exists() or (folder / PREDICTIONS_FOLDER).exists()


def _fingerprints(content: dict[str, Any]) -> dict[str, DataFingerprint]:
    """Return the stored fingerprints by the labels of their datasets."""
    stored = content.get("data")
    if not isinstance(stored, dict):
        return {}
    read = {label: DataFingerprint.from_json(value) for label, value in stored.items()}
    return {label: print_ for label, print_ in read.items() if print_ is not None}


def _stored_datasets(content: dict[str, Any]) -> set[str]:
    """Return the labels of the datasets that a manifest knows."""
    identity = content.get("identity")
    labels = identity.get("datasets") if isinstance(identity, dict) else None
    return {str(label) for label in labels} if isinstance(labels, list) else set()


def _stored_data(content: dict[str, Any], labels: set[str]) -> dict[str, Any]:
    """Return what a manifest says of datasets that it knows."""
    data = content.get("data")
    entries = data.items() if isinstance(data, dict) else ()
    return {label: entry for label, entry in entries if label in labels}


def stored_tasks(folder: Path) -> dict[str, str]:
    """Return the tasks of the datasets in a run folder, by label, where it says so."""
    content = _known_manifest(folder)
    data = _stored_data(content, _stored_datasets(content))
    return {
        label: str(entry["task"])
        for label, entry in data.items()
        if isinstance(entry, dict) and "task" in entry
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a manifest holds; nothing if it cannot be read.

    Also one that was changed since it was written: see `RunManifest`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if key != CHECKSUM}


# what is compared with the run that was asked for, before anything is taken from it
_CHECKED_ANYWAY = ("identity", "data", "commands")


def _problem(path: Path) -> str:
    """Return what is wrong with a manifest as a whole, nothing if it may be missing."""
    try:
        parse_manifest(path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return str(error)
    return ""


class RunManifest:
    """The manifest of one run folder, rewritten whenever its status changes.

    Commands, models and datasets of earlier runs in the same folder are kept; `added`
    are the datasets that join those. `notice` is for the user where some of
    them could not be read. `command` are the words that asked for this run, None for
    the command line.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        datasets: Sequence[Dataset],
        command: Sequence[str] | None = None,
    ) -> None:
        self.path = folder / MANIFEST_FILE
        words = redact_secrets(list(command or command_line()))
        self.notice = ""
        stored = read_manifest(self.path)
        damaged = [
            name
            for name, type_ in (("commands", list), ("models", dict))
            if not isinstance(stored.get(name, type_()), type_)
        ]
        files = stored.get(FILES)
        if not damaged and (problem := _problem(self.path)):
            # whose run it is has been checked; what others left in it may be wrong
            damaged = [problem]
            stored = {k: v for k, v in stored.items() if k in _CHECKED_ANYWAY}
        if damaged:
            stored = {k: v for k, v in stored.items() if k not in damaged}
            self.notice = (
                f"{self.path} is damaged ({', '.join(damaged)}): set aside as "
                f"{set_aside(self.path).name}, and written again"
            )
        packs = stored.get("packs")
        self._stored_packs = packs if isinstance(packs, dict) else {}
        fingerprints = {
            d.label: DataFingerprint.of(d).to_json() | {"task": d.task}
            for d in datasets
        }
        known = _stored_datasets(stored)
        self.added = [label for label in fingerprints if known and label not in known]
        self.content: dict[str, Any] = {
            "schema": SCHEMA,
            "identity": identity
            | {"datasets": sorted(known | set(identity["datasets"]))},
            "data": _stored_data(stored, known) | fingerprints,
            "status": "running",
            "versions": package_versions(),
            "commands": [*stored.get("commands", []), words],
            "notes": [],
            "models": stored.get("models", {}),
            FILES: files if isinstance(files, dict) else {},
        }
        if self._stored_packs:
            self.content["packs"] = self._stored_packs
        if isinstance(stored.get(TEXTS), dict):  # what is stored stays
            self.content[TEXTS] = stored[TEXTS]

    def add_pack(self, pack: Pack, missing: Mapping[str, str]) -> None:
        """Record a pack with its sets; one that has changed since is noticed."""
        packs = self.content.setdefault("packs", self._stored_packs)
        stored = packs.get(pack.name)
        entry = {
            "sha256": pack.sha256,
            "sets": {entry.dataset: entry.rows for entry in pack.entries},
            "missing": redact_secrets(dict(missing)),
        }
        if isinstance(stored, dict) and stored.get("sha256") != pack.sha256:
            self.notice = (
                f"pack {pack.name} names other sets than when {self.path.parent} was "
                "written: a new version would tell them apart"
            )
        packs[pack.name] = entry

    def add_texts(self, label: str, entry: dict[str, Any]) -> None:
        """Record that the texts of a dataset are in the folder."""
        self.content.setdefault(TEXTS, {})[label] = entry

    def add_model(self, classifier: ResolvedClassifier, evidence: EvidenceSet) -> None:
        """Record what a classifier turned out to be, and how many workers it had."""
        model: dict[str, Any] = {
            "model": classifier.model,
            "evidence_key": evidence.key,
            "facts": evidence.facts,
        }
        if evidence.n_workers > 1:
            model["workers"] = evidence.n_workers
        self.content["models"][classifier.label] = model

    def save(self, status: str) -> None:
        """Write the manifest with a new status."""
        self.content["status"] = status
        # whoever replaces a file notes its checksum there
        with suppress(FileNotFoundError, ValueError):
            self.content[FILES] = parse_manifest(self.path).get(FILES, {})
        write_json(self.path, sealed(self.content))


@dataclass(frozen=True, slots=True)
class DataFingerprint:
    """The number of rows of a dataset and a SHA-256 (hex) over them, in their order."""

    rows: int
    sha256: str

    @classmethod
    def of(cls, dataset: Dataset, rows: int | None = None) -> DataFingerprint:
        """Return the fingerprint of a dataset, or of its first `rows` rows."""
        n = len(dataset) if rows is None else rows
        # of a large one it is known since its rows were read
        digest_of_all = vars(dataset).get(ROWS_DIGEST)
        if n == len(dataset) and digest_of_all is not None:
            return cls(n, digest_of_all)
        # kept with the dataset: it is compared more than once, and takes a while
        known: dict[int, DataFingerprint]
        known = vars(dataset).setdefault("_fingerprints", {})
        if n not in known:
            digest = hashlib.sha256()
            pairs: dict[str, int] = {}
            records = zip(dataset.samples, dataset.ground_truth, strict=True)
            for sample, truth in islice(records, n):
                digest.update(row_bytes(sample, truth, pairs))
            known[n] = cls(n, digest.hexdigest())
        return known[n]

    @classmethod
    def from_json(cls, value: Any) -> DataFingerprint | None:
        """Return a fingerprint as `to_json` wrote it, None for anything else."""
        if not isinstance(value, dict):
            return None
        rows, digest = value.get("rows"), value.get("sha256")
        if type(rows) is not int or rows < 0 or not isinstance(digest, str):
            return None
        return cls(rows, digest)

    def to_json(self) -> dict[str, Any]:
        """Return the fingerprint for a manifest."""
        return {"rows": self.rows, "sha256": self.sha256}

    def change_to(self, dataset: Dataset) -> DataChange:
        """Tell how `dataset` differs from the one that this fingerprint is of.

        "extended": the same rows are followed by others. "other": a row was changed,
        moved or removed, so that what was stored belongs to other rows.
        """
        if self.rows > len(dataset) or self != self.of(dataset, self.rows):
            return "other"
        return "same" if self.rows == len(dataset) else "extended"
