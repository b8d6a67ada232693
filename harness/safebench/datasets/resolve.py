"""Resolve a dataset as the user names it to a `DatasetRequest`.

A name is ``NAME[:CONFIG][:SPLIT]`` for sets of the catalog and of plugins, a path to a
file (``.jsonl``, ``.csv``, ``.parquet``, ...), or a hub id
``ORG/NAME[:CONFIG]:SPLIT``; options follow as ``,key=value``. ``A+B`` joins two sets.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safebench.config_file import parse_key_values
from safebench.errors import DataError, OptionError, did_you_mean, unknown_name
from safebench.options import build_options, convert
from safebench.specs import DatasetSpec

from .files import EXPECTED_SUFFIXES, file_kind
from .hub import find_data_root
from .pack import is_pack, load_pack
from .request import WHOLE, DatasetRequest, TurnsOption
from .rows import ColumnOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.plugins import Plugins


def resolve_dataset(
    text: str,
    plugins: Plugins,
    *,
    data_root: Path | str | None = None,
    on_bad_row: Literal["fail", "skip"] = "fail",
    label_map: Mapping[str, str] | Iterable[str] = (),
    revisions: Mapping[str, str] | None = None,
    strict: bool = False,
) -> DatasetRequest:
    """Return the request for the split that `text` names; no data is read yet.

    `label_map` may be texts ``word=meaning``, as flags give them. `revisions` are
    commits of the hub by the name of a set, "" for any. With `strict`, reading refuses
    a branch that may move and an unexpected number of rows.
    Raises `UnknownNameError`, `OptionError` or `DataError`, each naming what would
    work.
    """
    if is_pack(text):
        names = ", ".join(load_pack(text).datasets)
        raise OptionError(f"{text} is a pack; name one of its datasets: {names}")
    requests = [
        replace(
            _resolve_one(part, plugins, data_root, on_bad_row, label_map),
            strict=strict,
        )
        for part in _joined_texts(text, plugins)
    ]
    requests = [
        replace(request, revision=_revision(request, revisions or {}))
        for request in requests
    ]
    return requests[0] if len(requests) == 1 else _join(requests)


def _join(requests: list[DatasetRequest]) -> DatasetRequest:
    """Return the request for all of several sets as one."""
    if any(request.turns == "all" for request in requests):
        raise OptionError(f"{WHOLE} is for one set: sets are joined turn by turn")
    name = "+".join(request.name for request in requests)
    split = "+".join(
        ":".join(filter(None, (request.config, request.split))) for request in requests
    )
    spec = DatasetSpec(
        name=name,
        load="safebench.datasets.joined:read_joined",
        task=requests[0].spec.task,
        splits=(split,),
    )
    return DatasetRequest(
        spec=spec, split=split, strict=requests[0].strict, parts=tuple(requests)
    )


def _revision(request: DatasetRequest, revisions: Mapping[str, str]) -> str | None:
    """Return the commit that was asked for, by the set's name or id or for any set."""
    names = (request.spec.name, request.source, request.spec.hub_id)
    given = [revisions[name] for name in names if name and name in revisions]
    return given[0] if given else revisions.get("")


def _joined_texts(text: str, plugins: Plugins) -> list[str]:
    """Split ``A+B`` into the sets that are joined.

    A plus sign inside the name of a file, or inside the value of an option, stays.
    """
    if "+" not in text or Path(text).expanduser().is_file():
        return [text]
    known = {spec.name.casefold(): spec.name for spec in plugins.all(DatasetSpec)}
    first, *pieces = text.split("+")
    texts = [first]
    for piece in pieces:
        head = re.split("[:,]", piece, maxsplit=1)[0].strip()
        if head.casefold() in known or file_kind(head) or "/" in head:
            texts.append(piece)
        elif "," in texts[-1] or file_kind(texts[-1]):
            texts[-1] += f"+{piece}"
        else:
            raise unknown_name("dataset", head, known.values())
    return texts


def _resolve_one(
    text: str,
    plugins: Plugins,
    data_root: Path | str | None,
    on_bad_row: Literal["fail", "skip"],
    label_map: Mapping[str, str] | Iterable[str],
) -> DatasetRequest:
    head, option_texts = _split_options(text)
    given_options = parse_key_values(option_texts, text)
    turns = convert(given_options.pop("turns", "last"), TurnsOption, f"{text}: turns")
    kind = _source_kind(head)
    source: str | None = None
    config: str | None = None
    if kind == "named":
        spec, config, split = _resolve_named(head, plugins)
    elif kind == "hub":
        spec = plugins.get(DatasetSpec, kind)
        source, config, split = _parse_hub_name(head)
    else:
        spec = plugins.get(DatasetSpec, kind)
        source, split = head, "all"
    options = build_options(spec, given_options)
    return DatasetRequest(
        spec=spec,
        source=source,
        config=config,
        split=split,
        data_root=find_data_root(data_root) if spec.hub_id or kind == "hub" else None,
        on_bad_row=on_bad_row,
        label_map=_as_mapping(label_map),
        columns=options.columns if isinstance(options, ColumnOptions) else {},
        options=options,
        turns=turns,
    )


def _as_mapping(label_map: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    if isinstance(label_map, Mapping):
        return dict(label_map)
    return parse_key_values(label_map, "--label-map")


def _split_options(text: str) -> tuple[str, list[str]]:
    """Split at commas into the name and ``key=value`` texts."""
    # Files may have commas in their names.
    if Path(text).expanduser().is_file():
        return text, []
    head, *pairs = next(csv.reader([text], skipinitialspace=True), [""]) or [""]
    if not head.strip():
        raise OptionError(f"{text!r}: expected NAME[:CONFIG][:SPLIT] or a path")
    return head.strip(), pairs


def _source_kind(head: str) -> str:
    """Return jsonl, csv, parquet, hub or named; raise `DataError` for other files."""
    path = Path(head).expanduser()
    if kind := file_kind(head):
        return kind
    if "/" not in head and "\\" not in head and not path.is_file():
        return "named"
    if path.exists() or head[0] in "./~" or head.count("/") != 1:
        raise DataError(
            f"{head}: a dataset file ends in {EXPECTED_SUFFIXES}"
            if path.exists()
            else f"no file {head}, and a dataset file ends in {EXPECTED_SUFFIXES}"
        )
    return "hub"


def _parse_hub_name(head: str) -> tuple[str, str | None, str]:
    match head.split(":"):
        case [source, split] if split:
            return source, None, split
        case [source, config, split] if config and split:
            return source, config, split
        case [source, *_]:
            # Relative paths look like hub ids, so the message speaks of both.
            raise OptionError(
                f"{head}: no such file; for a hub set say {source}:SPLIT or "
                f"{source}:CONFIG:SPLIT"
            )
    raise AssertionError(head)


def _resolve_named(head: str, plugins: Plugins) -> tuple[DatasetSpec, str | None, str]:
    """Return spec, config and split; ``PROJECT:NAME`` chooses between two plugins."""
    name, *rest = head.split(":")
    known = {spec.name for spec in plugins.all(DatasetSpec)}
    if name not in known and Path(name).suffix and not rest:
        raise _missing_file_error(name)
    if name not in known and rest and rest[0] in known:
        name, rest = f"{name}:{rest[0]}", rest[1:]
    spec = plugins.get(DatasetSpec, name)
    if spec.name in ("jsonl", "csv", "parquet"):
        raise OptionError(f"which file? -d PATH.{spec.name}")
    if spec.name == "hub":
        raise OptionError("which hub set? -d ORG/NAME:SPLIT or ORG/NAME:CONFIG:SPLIT")
    config, split = _config_and_split(spec, rest)
    return spec, config, split


def _missing_file_error(name: str) -> DataError:
    """Return the error for a name that looks like a file's, naming similar files."""
    files = sorted(p.name for p in Path().iterdir() if file_kind(p.name))
    hint = did_you_mean(name, files)
    return DataError(
        f"no dataset {name!r}, and a dataset file ends in {EXPECTED_SUFFIXES}{hint}"
    )


def _config_and_split(spec: DatasetSpec, rest: list[str]) -> tuple[str | None, str]:
    """Read what follows the name: ``CONFIG``, ``SPLIT`` or ``CONFIG:SPLIT``.

    The config of the spec counts as none given, so that it does not change a dataset's
    label.
    """
    config: str | None
    default = spec.splits[0] if spec.splits else "test"
    match rest:
        case []:
            return None, default
        case [config] if config and config == spec.config:
            return None, default
        case [split]:
            config = None
        case [config, split] if config:
            pass
        case _:
            wrong = ":".join((spec.name, *rest))
            raise OptionError(f"{wrong}: expected NAME[:CONFIG][:SPLIT]")
    if spec.splits and split not in spec.splits:
        raise unknown_name(f"split of {spec.name}", split, spec.splits)
    return (None if config == spec.config else config), split
