"""What CONTRIBUTING says of the code is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(safebench[\w.]*:\w+)`", TEXT)))
FOLDERS = "metrics|classifiers|evidence|cli|pipeline|reporters|datasets"
FILES = sorted(set(re.findall(rf"`((?:{FOLDERS})/\w+\.py)`", TEXT)))


@pytest.mark.parametrize("name", NAMED)
def test_what_the_hops_name_can_be_imported(name: str) -> None:
    """Every ``module:attribute`` on the way of a run is there under that name."""
    module, _, attribute = name.partition(":")

    assert hasattr(import_module(module), attribute)


def test_a_run_is_told_in_ten_hops() -> None:
    """No more than ten numbered steps, and most of them name code."""
    hops = TEXT.partition("in ten hops")[2].partition("###")[0]
    steps = re.findall(r"^(\d+)\. (.*)", hops, re.MULTILINE)

    assert [str(n) for n in range(1, 11)] == [number for number, _ in steps]
    assert len(NAMED) >= 10


@pytest.mark.parametrize("name", FILES)
def test_where_it_goes_names_files_that_are_there(name: str) -> None:
    """Whoever adds something finds the file that is named."""
    assert (ROOT / "harness" / "safebench" / name).is_file()
