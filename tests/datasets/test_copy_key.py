"""Columns of a hub set are kept of a local copy, by all that decides its rows."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets import record_spool
from safebench.datasets.column_file import columns_key
from safebench.datasets.resolve import resolve_dataset
from safebench.errors import DataError
from safebench.pipeline.kept_columns import load_with_columns
from safebench.pipeline.manifest import DataFingerprint

if TYPE_CHECKING:
    from safebench.plugins import Plugins

ROWS = [{"prompt": f"text {i}", "label": ("safe", "unsafe")[i % 2]} for i in range(9)]
CARD = "---\nconfigs:\n- config_name: default\n  data_files: data/*.jsonl\n---\n"
AWAY = CARD.replace("data/", "https://example.org/")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a local copy of a set, of which two rows are many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFEBENCH_DATA", raising=False)
    monkeypatch.setattr(record_spool, "BLOCK", 2)
    monkeypatch.setattr(record_spool, "MAX_IN_MEMORY", 2)
    folder = tmp_path / "root" / "org" / "set"
    (folder / "data").mkdir(parents=True)
    write(folder, ROWS)
    (folder / "README.md").write_text(CARD)
    return folder


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the only file of data."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "data" / "train.jsonl").write_text(lines)


def key(plugins: Plugins, text: str = "org/set:train", **options: Any) -> str | None:
    """Return what the columns of the copy are found by."""
    return columns_key(
        resolve_dataset(text, plugins, **{"data_root": Path("root"), **options})
    )


def test_what_changes_rows_changes_the_key(copy: Path, plugins: Plugins) -> None:
    """Any file of the copy, and another copy of that name; times and places do not."""
    first = key(plugins)
    assert first is not None
    for path in copy.rglob("*.*"):
        os.utime(path, (1, 1))
    shutil.copytree("root", "elsewhere")
    assert first == key(plugins) == key(plugins, data_root=Path("elsewhere"))

    keys = [
        first,
        key(plugins, "org/set:test"),
        key(plugins, "org/set:one:train"),
        key(plugins, revisions={"": "0" * 40}),
        key(plugins, label_map={"safe": "unsafe"}),
    ]
    write(copy, [*ROWS[:-1], ROWS[-1] | {"prompt": "text 9"}])  # as long as before
    keys.append(key(plugins))
    write(copy, ROWS)
    assert first == key(plugins)
    (copy / "data" / "more.jsonl").write_text(json.dumps(ROWS[0]))
    keys.append(key(plugins))
    (copy / "README.md").write_text(CARD + "more\n")
    keys.append(key(plugins))
    shutil.copytree(copy, copy.parents[1] / "other" / "Set")
    keys.append(key(plugins))
    assert len(set(keys)) == len(keys)
    assert None not in keys


def test_what_may_change_elsewhere_has_no_key(copy: Path, plugins: Plugins) -> None:
    """The hub itself, no copy, and a copy whose card names files of another place."""
    assert key(plugins, data_root=None) is None
    assert key(plugins, "org/none:train") is None
    (copy / "README.md").write_text(AWAY)
    assert key(plugins) is None
    (copy / "README.md").write_text(f"{CARD}see https://example.org")
    assert key(plugins) is not None


@pytest.mark.slow
def test_a_repeat_reads_columns_and_notices_a_change(
    copy: Path, plugins: Plugins
) -> None:
    """Records are the same; another content is never taken for the old one."""
    request = resolve_dataset("org/set:train", plugins, data_root=Path("root"))
    read = load_with_columns(request, Path("run"))
    assert read.to_keep is not None
    Path("run/columns").mkdir(parents=True)
    read.to_keep.write(
        Path("run"), read.dataset, DataFingerprint.of(read.dataset).sha256
    )

    again = load_with_columns(request, Path("run"))
    assert again.to_keep is None
    assert list(read.dataset.samples) == list(again.dataset.samples)
    assert list(read.dataset.ground_truth) == list(again.dataset.ground_truth)
    assert read.dataset.revision == again.dataset.revision

    late = load_with_columns(request, Path("run")).dataset
    write(copy, [*ROWS[:-1], ROWS[-1] | {"prompt": "text 9"}])
    with pytest.raises(DataError, match="org/set has changed since this run began"):
        list(late.samples)
    changed = load_with_columns(request, Path("run"))
    assert changed.to_keep is not None
    assert changed.dataset.samples[8].judged.text == "text 9"
