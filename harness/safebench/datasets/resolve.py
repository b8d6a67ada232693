"""Resolve a dataset as the user names it to a `DatasetRequest`.

A name is ``NAME[:CONFIG][:SPLIT]`` for sets of the catalog and of plugins, a path to a
file (``.jsonl``, ``.csv``, ``.parquet``, ...), or a hub id
``ORG/NAME[:CONFIG]:SPLIT``; options follow as ``,key=value``.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safebench.config_file import parse_key_values
from safebench.errors import DataError, OptionError, did_you_mean, unknown_name
from safebench.options import build_options
from safebench.specs import DatasetSpec

from .files import EXPECTED_SUFFIXES, file_kind
from .hub import find_data_root
from .request import DatasetRequest
from .rows import ColumnOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.plugins import Plugins


def resolve_dataset(
    text: str,
    plugins: Plugins,
    *,
    data_root: Path | str | None = None,
    on_bad_row: Literal["fail", "skip"] = "fail",
    label_map: Mapping[str, str] | None = None,
) -> DatasetRequest:
    """Return the request for the split that `text` names; no data is read yet.

    Raises `UnknownNameError`, `OptionError` or `DataError`, each naming what would
    work.
    """
    head, option_texts = _split_options(text)
    given_options = parse_key_values(option_texts, text)
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
        label_map=dict(label_map or {}),
        columns=options.columns if isinstance(options, ColumnOptions) else {},
        options=options,
    )


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
