"""Read a split of a Hugging Face data set, from the hub or from a local copy.

`hub_rows` is what dataset functions call. A folder given by ``--data-root`` or
``SAFEBENCH_DATA`` replaces the hub: a set is then read from ``ROOT/hub-id``. Whatever
the libraries raise becomes one `DataError` that says what was looked for and what would
work.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import socket
import zlib
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.errors import DataError, did_you_mean
from safebench.options import TRUE_WORDS
from safebench.recipes import Source

from .class_names import column_names, described_features, note_class_names
from .hub_rows import PlacedRows, TableRows
from .local_copy import (
    MissingPartError,
    files_of,
    nearest_copy,
    other_part,
    plain_rows,
    require_files,
    without_card,
)
from .row_errors import RowErrors
from .tabular import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .class_names import Features
    from .hub_rows import HubRow
    from .request import DatasetRequest, Example

    HubRows = Sequence[dict[str, Any]]


DATA_ROOT_VARIABLE = "SAFEBENCH_DATA"
TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - its name, not its value
# Any of them keeps the libraries from the network.
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


class HubSplit(NamedTuple):
    """A split: its rows, the revision that was read, and the classes of its columns.

    Rows hold the names of classes where the set stores them as numbers. `note` says
    what was read in place of what was asked for.
    """

    rows: HubRows
    revision: str
    class_names: dict[str, tuple[str, ...]]
    note: str = ""


def read_hub(request: DatasetRequest) -> Iterator[Example]:
    """Yield the examples of any hub set whose columns the request names."""
    name = f"{request.source}:{request.split}"
    errors = RowErrors(name, skip=request.on_bad_row == "skip")
    rows = hub_rows(request)
    note_class_names(name, request)
    yield from read_rows(rows, name, request, errors)


def hub_page(hub_id: str) -> str:
    """Return the address of a set's page, where its terms are."""
    return f"https://huggingface.co/datasets/{hub_id}"


def find_data_root(given: Path | str | None) -> Path | None:
    """Return the folder of local copies: `given`, else the environment's, else None.

    Raises `DataError` if that folder does not exist.
    """
    text = str(given) if given else os.environ.get(DATA_ROOT_VARIABLE, "")
    if not text:
        return None
    root = Path(text).expanduser()
    if not root.is_dir():
        origin = "--data-root" if given else DATA_ROOT_VARIABLE
        raise DataError(f"{origin}: no folder {text}")
    return root


def hub_rows(
    request: DatasetRequest,
    *,
    config: str | None = None,
    split: str | None = None,
    hub_id: str | None = None,
    source: Source | None = None,
    is_only: bool = True,
) -> Sequence[tuple[str, HubRow]]:
    """Return (where, row) pairs of the request's hub set, and note the revision read.

    `config` and `split` are the hub's names, where they differ from the request's;
    `hub_id` is that of a copy of the set, and `source` says where in it a split lies;
    with `is_only` all of it lies there.
    """
    hub_id = hub_id or request.source or request.spec.hub_id
    assert hub_id, f"{request.spec.name} has no hub id"
    declared = source is not None
    if source is None:
        config = request.config or config or request.spec.config
        source = Source(config=config, split=split or request.split)
    split = source.split
    # The catalog pins a revision; a hub id that the user typed means the newest.
    pinned = request.spec.revision if hub_id == request.spec.hub_id else None
    rows, revision, class_names, note = load_split(
        hub_id,
        source,
        request.revision or pinned,
        request.data_root,
        declared=declared,
        is_default=request.split == next(iter(request.spec.splits), None),
        is_only=is_only,
    )
    seen = request.report.revision
    # One file that stands for several parts of a set is read for the first of them.
    if note and revision in seen.split("+"):
        return []
    if note:
        request.report.notes.append(note)
    request.report.rows_read += len(rows)
    # A reader of two splits calls this twice, and local copies have two fingerprints.
    if revision not in seen.split("+"):
        request.report.revision = f"{seen}+{revision}" if seen else revision
    request.report.class_names |= class_names
    return PlacedRows(rows, f"{hub_id}:{split}")


def find_home(request: DatasetRequest, hub_ids: Sequence[str]) -> str:
    """Return the id under which a set is read: the first on the hub.

    Of local copies the first that is there; else a folder of the same name under
    another organisation, which the user is told. The first id if there is none.
    """
    root = request.data_root
    if root is None:
        return hub_ids[0]
    for hub_id in hub_ids:
        if (root / hub_id).is_dir():
            return hub_id
    names = {hub_id.rpartition("/")[2].casefold() for hub_id in hub_ids}
    copies = sorted(p for p in root.glob("*/*") if p.name.casefold() in names)
    if len(copies) != 1:
        return hub_ids[0]
    found = copies[0].relative_to(root).as_posix()
    request.report.notes.append(
        f"{request.spec.name}: no copy of {hub_ids[0]}, so {found} in {root} is read "
        "for it"
    )
    return found


def load_split(
    hub_id: str,
    source: Source,
    revision: str | None,
    data_root: Path | None,
    *,
    declared: bool = False,
    is_default: bool = False,
    is_only: bool = True,
) -> HubSplit:
    """Return a split's rows and the revision that was read.

    With `data_root` the rows come from ``data_root/hub_id`` and the revision is
    ``local:<fingerprint of the rows>``. What a copy of a `declared` set has in place of
    the config or split is read, which `HubSplit.note` says; its only part is read for
    the default split alone, and files of no known name where the split `is_only` in
    this source. Raises `DataError` if anything is not there.
    """
    if data_root is None:
        return _from_hub(hub_id, source, revision)
    folder = data_root / hub_id
    if not folder.is_dir():
        raise DataError(
            f"no local copy of {hub_id}: looked for the folder {folder}"
            f"{nearest_copy(hub_id, data_root)}; unset --data-root and "
            f"{DATA_ROOT_VARIABLE} to read the hub"
        )
    if declared and not is_only and source.config is None and source.files:
        require_files(source, folder, hub_id)
    rows, names, note = _from_copy(
        hub_id, source, folder, declared=declared, is_default=is_default
    )
    return HubSplit(rows, f"local:{_fingerprint(rows)}", names, note)


def _from_copy(
    hub_id: str, source: Source, folder: Path, *, declared: bool, is_default: bool
) -> tuple[HubRows, dict[str, tuple[str, ...]], str]:
    """Return rows, the names of classes, and what was read in place of the split."""
    part, first_error = without_card(source, folder), None
    # a config and then a split may have another name; no copy lacks more than that
    for _ in range(3):
        try:
            # The library would keep a second copy in its cache; reading this one again
            # is fast.
            # mapped tables outlive the folder, but not where open files cannot go
            with TemporaryDirectory(prefix="safebench-") as cache:
                rows, _, names = _load(str(folder), hub_id, part, None, cache)
                if os.name == "nt":
                    rows = list(rows)
        except MissingPartError as error:
            first_error = first_error or error
            other = None
            if declared:
                other = other_part(part, error, folder, is_default=is_default)
            if other is None or other == part:
                raise first_error from None
            part = other
        except DataError:
            plain = plain_rows(source, folder) if declared else None
            if plain is None:
                raise
            return plain, {}, ""
        else:
            note = ""
            if first_error is not None:
                note = (
                    f"{hub_id} in {folder}: {_part_name(part)} is read for "
                    f"{_part_name(source)}"
                )
            return rows, names, note
    assert first_error
    raise first_error


def _part_name(source: Source) -> str:
    return ":".join(filter(None, (source.config, source.split)))


def _from_hub(hub_id: str, source: Source, revision: str | None) -> HubSplit:
    # the library would read it, and results would name it as the hub's
    if Path(hub_id).is_dir():
        raise DataError(
            f"{hub_id} is a folder here, and would be read in place of the hub: "
            "--data-root . reads it, another working folder the hub"
        )
    with _offline_if_unreachable():
        rows, commit, names = _load(hub_id, hub_id, source, revision, None)
    return HubSplit(rows, commit or revision or "main", names)


def _load(
    path: str,
    hub_id: str,
    source: Source,
    revision: str | None,
    cache: str | None,
) -> tuple[HubRows, str | None, dict[str, tuple[str, ...]]]:
    config, split, options = source.config, source.split, dict(source.options)
    if config is None and source.files:
        local = [] if path == hub_id else files_of(source, Path(path))
        if local or path == hub_id:
            options["data_files"] = {split: local or list(source.files)}
    with _quiet_datasets():
        import datasets

        try:
            dataset = datasets.load_dataset(
                path,
                config,
                split=split,
                revision=revision,
                cache_dir=cache,
                **options,
            )
        except _read_errors() as error:
            raise _explain_error(error, path, hub_id, config, split) from error
        features: Features = dataset.features.to_dict()
        named = options.get("data_files", {}).get(split, [])
        if path != hub_id and named:
            features = described_features(features, Path(path) / named[0])
        rows = TableRows(dataset, features)
        commit = find_commit(dataset.info.download_checksums or {})
        return rows, commit, column_names(features)


def _read_errors() -> tuple[type[Exception], ...]:
    """Return what reading a dataset may raise: files, archives, formats, network."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    # Versions of huggingface_hub differ in their HTTP library, httpx or requests; its
    # base error is the first base of theirs.
    transport = HfHubHTTPError.__bases__[0]
    archive = (lzma.LZMAError, zlib.error, EOFError)
    return (OSError, ValueError, DatasetsError, transport, *archive)


def find_commit(urls: Any) -> str | None:
    """Return the commit that ``hf://datasets/ORG/NAME@COMMIT/...`` URLs agree on.

    None if they do not agree, or name none.
    """
    commits = {m[1] for url in urls if (m := re.search(r"@([0-9a-f]{40})/", str(url)))}
    return commits.pop() if len(commits) == 1 else None


def _explain_error(
    error: Exception, path: str, hub_id: str, config: str | None, split: str
) -> DataError:
    """Turn a library's error into what was looked for and what would work."""
    # The libraries raise ValueError for all of these: only the text tells them apart.
    text = " ".join(str(error).split())
    local = path != hub_id
    what = f"{hub_id} in {path}" if local else f"{hub_id} on the hub"
    available = re.findall(r"'([^']+)'", text.rpartition("[")[2])
    if text.startswith("Unknown split"):
        return MissingPartError(
            f"{what} has no split {split!r}{_suggest(split, available)}",
            "split",
            available,
        )
    if text.startswith("BuilderConfig") and "not found" in text:
        return MissingPartError(
            f"{what} has no config {config!r}{_suggest(str(config), available)}",
            "config",
            available,
        )
    if text.startswith("Config name is missing"):
        return DataError(
            f"{what} needs a config: NAME:CONFIG:SPLIT "
            f"(there is: {', '.join(available)})"
        )
    if local:
        return DataError(f"cannot read {what}: {text[:200]}")
    copy = (
        f"or point --data-root (or {DATA_ROOT_VARIABLE}) at a folder that holds "
        f"{hub_id}"
    )
    if "gated" in text.casefold():
        return DataError(
            f"{what} is gated: accept its terms on {hub_page(hub_id)} and log in "
            f"with `hf auth login` or set {TOKEN_VARIABLE}, {copy}"
        )
    if isinstance(error, ConnectionError):
        offline = _offline_variable()
        reason = f" (downloads are off: {offline} is set)" if offline else ""
        remedy = f"unset {offline}" if offline else "connect"
        return DataError(
            f"cannot reach {what}{reason}, and no copy is in the cache: {remedy}, "
            f"{copy}"
        )
    return DataError(f"cannot read {what}: {text[:200]}; check the name, {copy}")


def _offline_variable() -> str:
    """Return the variable that keeps the libraries from the network, or ""."""
    for name in OFFLINE_VARIABLES:
        if os.environ.get(name, "").casefold() in TRUE_WORDS:
            return name
    return ""


def _suggest(name: str, available: list[str]) -> str:
    listed = f" (there is: {', '.join(available)})" if available else ""
    return f"{did_you_mean(name, available)}{listed}"


def _fingerprint(rows: HubRows) -> str:
    """Return the first 12 hex digits of a SHA-256 over all rows.

    Over rows rather than files: parquet and JSON copies of one set agree.
    """
    digest = hashlib.sha256()
    for row in rows:
        text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()[:12]


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Keep the library's progress bars and log lines off the terminal."""
    from datasets.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    level, bars = logging.get_verbosity(), not are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            enable_progress_bars()


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Without a network, use cached copies at once.

    The libraries would retry for half a minute first.
    """
    import datasets.config
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or reachable(constants.ENDPOINT):
        yield
        return
    before = datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = False, before


def reachable(endpoint: str) -> bool:
    """Tell whether the host's name resolves.

    Behind a proxy the name may resolve there only, so the answer is True.
    """
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, 443)
    except OSError:
        return False
    return True
