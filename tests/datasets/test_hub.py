"""Splits of the hub: local copies, formats, and errors of the library."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from safebench.datasets.hub import find_commit, load_split, reachable
from safebench.errors import DataError
from safebench.recipes import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

CARD = """---
configs:
- config_name: one
  default: true
  data_files:
  - split: test
    path: {file}
- config_name: two
  data_files:
  - split: test
    path: {file}
---
"""
ROWS = [{"prompt": "hello", "label": 0}, {"prompt": "kill", "label": 1}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a data root with one compressed set of two configs."""
    folder = tmp_path / "org" / "set"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "test.jsonl.xz").write_bytes(lzma.compress(text.encode()))
    (folder / "README.md").write_text(CARD.format(file="test.jsonl.xz"))
    return tmp_path


def test_a_local_copy_is_read_with_a_fingerprint(root: Path) -> None:
    """Rows are the file's; the fingerprint depends on the rows alone."""
    split = load_split("org/set", Source(config="one", split="test"), "main", root)
    again = load_split("org/set", Source(config="two", split="test"), None, root)

    assert list(split.rows) == list(again.rows) == ROWS
    assert split.rows[-1] == ROWS[-1]
    assert split.revision.startswith("local:")
    assert split.revision == again.revision


def test_local_copies_do_not_fill_the_cache(root: Path) -> None:
    """A local copy is built in a temporary cache."""
    import datasets

    load_split("org/set", Source(config="one", split="test"), None, root)

    cache = datasets.config.HF_DATASETS_CACHE
    assert not (cache / "set").exists()
    assert not list(cache.glob(f"*{root.name}*"))


@pytest.mark.parametrize(
    ("hub_id", "config", "split", "words"),
    [
        ("org/sett", None, "test", "no local copy of org/sett.*did you mean 'org/set'"),
        ("org/set", "one", "tset", "no split 'tset'; did you mean 'test'"),
        ("org/set", "tow", "test", "no config 'tow'; did you mean 'two'"),
    ],
)
def test_what_a_local_copy_lacks_is_named(
    root: Path, hub_id: str, config: str | None, split: str, words: str
) -> None:
    """One line: what was looked for, where, and the nearest name."""
    with pytest.raises(DataError, match=words) as caught:
        load_split(hub_id, Source(config=config, split=split), None, root)
    assert 1 == len(caught.value.format_message().splitlines())
    assert str(root) in caught.value.format_message()


def test_a_broken_file_is_one_line(root: Path) -> None:
    """A file that cannot be parsed is refused without a traceback."""
    (root / "org" / "set" / "test.jsonl.xz").write_bytes(b"not compressed")

    with pytest.raises(DataError, match="cannot read org/set") as caught:
        load_split("org/set", Source(config="one", split="test"), None, root)
    assert 1 == len(caught.value.format_message().splitlines())


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, the message names the set and how to read a local copy."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(DataError, match="cannot reach no-org/no-set") as caught:
        load_split("no-org/no-set", Source(config=None, split="test"), None, None)
    message = caught.value.format_message()
    assert "SAFEBENCH_DATA" in message
    assert 1 == len(message.splitlines())


@pytest.mark.parametrize(
    "variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"]
)
@pytest.mark.parametrize(("value", "is_said"), [("1", True), ("TRUE", True), ("0", 0)])
def test_a_variable_that_keeps_the_hub_away_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, is_said: bool
) -> None:
    """Whoever has set it long ago would look for the fault in the network."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv(variable, value)

    with pytest.raises(DataError, match="cannot reach no-org/no-set") as caught:
        load_split("no-org/no-set", Source(config=None, split="test"), None, None)

    message = caught.value.format_message()
    assert bool(is_said) is (f"{variable} is set" in message)
    assert bool(is_said) is (f"unset {variable}" in message)
    assert 1 == len(message.splitlines())


def test_reachability_depends_on_the_host_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that cannot resolve is unreachable; a proxy may know better."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    assert reachable("https://nowhere.invalid") is False
    assert reachable("https://127.0.0.1") is True
    monkeypatch.setenv("https_proxy", "http://proxy.example:1")
    assert reachable("https://nowhere.invalid") is True


def test_the_commit_is_found_in_download_urls() -> None:
    """All files must agree on one commit."""
    a, b = "a" * 40, "b" * 40

    assert a == find_commit([f"hf://datasets/org/set@{a}/x", f"hf://d/o/s@{a}/y"])
    assert find_commit([f"hf://datasets/org/set@{a}/x", f"hf://d/o/s@{b}/y"]) is None
    assert find_commit([]) is None


def test_any_hub_set_is_read_by_naming_its_columns(
    load: Callable[..., Dataset], root: Path
) -> None:
    """`ORG/NAME:CONFIG:SPLIT,prompt=...` needs no code."""
    dataset = load("org/set:one:test", data_root=root)

    assert ("org--set", "one", "test") == (dataset.name, dataset.config, dataset.split)
    assert [False, True] == [truth.label.value for truth in dataset.ground_truth]
    with pytest.raises(DataError, match=r"no column 'text' .*columns: prompt, label"):
        load("org/set:one:test,prompt=text", data_root=root)


@pytest.mark.slow
def test_files_are_read_without_the_hub_library() -> None:
    """The starter set needs neither the hub library nor numpy."""
    code = (
        "import sys\n"
        "from safebench.datasets import DatasetRequest\n"
        "from safebench.datasets.loader import load_dataset\n"
        "from safebench.datasets.catalog import SPECS\n"
        "spec = next(s for s in SPECS if s.name == 'starter')\n"
        "load_dataset(DatasetRequest(spec=spec, split='all'))\n"
        "print([m for m in ('datasets', 'numpy', 'pandas') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "[]" == done.stdout.strip()
