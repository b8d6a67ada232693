"""Read ``NAME[:CONFIG][:SPLIT][,key=value...]``, a file's path or a hub id."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safebench.errors import DataError, OptionError, nearest, unknown
from safebench.options import build_options
from safebench.run.terms import parse_pairs
from safebench.specs import DatasetSpec

from .example import Request
from .rows import ColumnOptions
from .source import find_data_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.plugins import Plugins

SUFFIXES = {".jsonl": "jsonl", ".csv": "csv"}


def choose(
    text: str,
    plugins: Plugins,
    *,
    data_root: Path | str | None = None,
    on_bad_row: Literal["fail", "skip"] = "fail",
    label_map: Mapping[str, str] | None = None,
) -> Request:
    """Return the split that `text` names; nothing is read yet but file names.

    Raises `UnknownNameError`, `OptionError` or `DataError`, each naming what would
    work.
    """
    head, pairs = _head_and_pairs(text)
    given = parse_pairs(pairs, text)
    kind = _kind(head)
    source: str | None = None
    config: str | None = None
    if kind == "named":
        spec, config, split = _named(head, plugins)
    elif kind == "hub":
        spec = plugins.get(DatasetSpec, kind)
        source, config, split = _hub_parts(head)
    else:
        spec = plugins.get(DatasetSpec, kind)
        source, split = head, "all"
    options = build_options(spec, given)
    return Request(
        spec=spec,
        source=source,
        config=config,
        split=split,
        data_root=find_data_root(data_root) if spec.hub_id or kind == "hub" else None,
        on_bad_row=on_bad_row,
        label_map=dict(label_map or {}),
        columns=options.columns if isinstance(options, ColumnOptions) else {},
        options=options,
    )


def _head_and_pairs(text: str) -> tuple[str, list[str]]:
    """Split at commas, unless the whole text is a file's name."""
    if Path(text).expanduser().is_file():
        return text, []
    head, *pairs = next(csv.reader([text], skipinitialspace=True), [""]) or [""]
    if not head.strip():
        raise OptionError(f"{text!r}: expected NAME[:CONFIG][:SPLIT] or a path")
    return head.strip(), pairs


def _kind(head: str) -> str:
    """Return jsonl, csv, hub or named."""
    path = Path(head).expanduser()
    suffix = SUFFIXES.get(path.suffix.casefold())
    if suffix:
        return suffix
    if "/" not in head and "\\" not in head and not path.is_file():
        return "named"
    if path.exists() or head[0] in "./~" or head.count("/") != 1:
        raise DataError(
            f"{head}: a dataset file ends in .jsonl or .csv"
            if path.exists()
            else f"no file {head}, and a dataset file ends in .jsonl or .csv"
        )
    return "hub"


def _hub_parts(head: str) -> tuple[str, str | None, str]:
    match head.split(":"):
        case [source, split] if split:
            return source, None, split
        case [source, config, split] if config and split:
            return source, config, split
        case [source, *_]:
            raise OptionError(
                f"{head}: no such file; for a hub set say {source}:SPLIT or "
                f"{source}:CONFIG:SPLIT"
            )
    raise AssertionError(head)


def _named(head: str, plugins: Plugins) -> tuple[DatasetSpec, str | None, str]:
    """Find the dataset; ``project:name`` picks one of two plugins' sets."""
    name, *rest = head.split(":")
    known = {spec.name for spec in plugins.all(DatasetSpec)}
    if name not in known and Path(name).suffix and not rest:
        raise _no_file(name)
    if name not in known and rest and rest[0] in known:
        name, rest = f"{name}:{rest[0]}", rest[1:]
    spec = plugins.get(DatasetSpec, name)
    if spec.name in ("jsonl", "csv"):
        raise OptionError(f"which file? -d PATH.{spec.name}")
    if spec.name == "hub":
        raise OptionError("which hub set? -d ORG/NAME:SPLIT or ORG/NAME:CONFIG:SPLIT")
    config, split = _config_and_split(spec, rest)
    return spec, config, split


def _no_file(name: str) -> DataError:
    """Answer a name that looks like a file's with the files that are there."""
    there = sorted(p.name for p in Path().iterdir() if p.suffix in SUFFIXES)
    hint = nearest(name, there)
    return DataError(
        f"no dataset {name!r}, and a dataset file ends in .jsonl or .csv{hint}"
    )


def _config_and_split(spec: DatasetSpec, rest: list[str]) -> tuple[str | None, str]:
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
        raise unknown(f"split of {spec.name}", split, spec.splits)
    return (None if config == spec.config else config), split
