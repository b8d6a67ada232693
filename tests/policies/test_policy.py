"""Policies and maps: every data file is complete, and bad ones are refused."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from safebench.errors import DataError, UnknownNameError
from safebench.policies import load_policy
from safebench.policies.mapping import PIVOT, find_map, map_ids
from safebench.policies.policy import policy_ids

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {
    "aegis-2": 23,
    "alert": 32,
    "beavertails": 14,
    "catqa": 11,
    "circleguardbench": 17,
    "diasafety": 5,
    "dices": 3,
    "do-not-answer": 12,
    "harmbench": 7,
    "jailbreakbench": 10,
    "llama-guard-1": 6,
    "llama-guard-2": 11,
    "llama-guard-3": 14,
    "md-judge": 6,
    "mlcommons-hazards": 12,
    "openai-moderation": 8,
    "openai-moderation-13": 13,
    "or-bench": 10,
    "pku-safe-rlhf": 19,
    "qwen3guard": 9,
    "s-eval": 33,
    "salad-bench": 16,
    "simple-safety-tests": 5,
    "sorry-bench": 44,
    "strongreject": 6,
    "wildguard": 14,
}
MAPS = sorted(
    p.name
    for p in files("safebench.policies").joinpath("maps").iterdir()
    if p.name.endswith(".yaml")
)


def test_the_core_ships_these_policies() -> None:
    """Each has the number of categories of its source, all named and defined."""
    policies = {name: load_policy(name) for name in policy_ids()}

    assert SIZES == {name: len(policy.codes) for name, policy in policies.items()}
    for name, policy in policies.items():
        assert name == policy.id
        assert all(c.name and c.definition.endswith(".") for c in policy.categories)
        assert policy.source, f"{name} does not say where its names come from"
        assert len(set(policy.codes)) == len(policy.codes)


def test_llama_guard_codes_are_numbered() -> None:
    """S1 to S14, in order."""
    expected = tuple(f"S{i}" for i in range(1, 15))

    assert expected == load_policy("llama-guard-3").codes


def test_an_unknown_policy_names_the_nearest() -> None:
    """A misspelt id is refused with a suggestion."""
    with pytest.raises(UnknownNameError, match="did you mean 'llama-guard-3'"):
        load_policy("llama-gaurd-3")


def test_the_hash_depends_on_every_word() -> None:
    """Two policies differ, one policy is stable."""
    two, three = load_policy("llama-guard-2"), load_policy("llama-guard-3")

    assert two.hash != three.hash
    assert re.fullmatch(r"[0-9a-f]{64}", three.hash)


@pytest.mark.parametrize("name", MAPS)
def test_every_map_lists_every_source_code(name: str) -> None:
    """The map loads (codes are checked then), and its id is its file's name."""
    source, target = name.rpartition("@")[0].split("__")

    policy_map = find_map(load_policy(source), load_policy(target))

    assert policy_map is not None
    assert name.removesuffix(".yaml") == policy_map.id
    assert set(load_policy(source).codes) == policy_map.entries.keys()


@pytest.mark.parametrize("name", [n for n in policy_ids() if n != PIVOT])
def test_every_policy_leads_to_the_pivot(name: str) -> None:
    """So that its sets can be compared with every guard that the pivot leads to."""
    assert find_map(load_policy(name), load_policy(PIVOT)) is not None


def test_the_maps_that_are_listed_are_those_of_the_folder() -> None:
    """The newest of each pair, once."""
    expected = {name.removesuffix(".yaml") for name in MAPS}

    assert expected == {f"{a}__{b}@{version}" for a, b, version in map_ids()}
    assert sorted(map_ids()) == map_ids()


def test_a_source_is_no_part_of_the_hash() -> None:
    """Evidence and results stay those of the policy when a citation is mended."""
    policy = load_policy("harmbench")

    assert policy.hash == replace(policy, source="elsewhere").hash
    assert policy.hash != replace(policy, version="2").hash


def test_the_required_maps_are_there() -> None:
    """The pairs that the shipped datasets and guards need."""
    required = {
        "llama-guard-2__llama-guard-3@1.yaml",
        "llama-guard-3__llama-guard-2@1.yaml",
        "beavertails__llama-guard-3@1.yaml",
        "openai-moderation__llama-guard-3@1.yaml",
        "mlcommons-hazards__llama-guard-3@1.yaml",
        "llama-guard-1__llama-guard-3@1.yaml",
        "llama-guard-3__openai-moderation@1.yaml",
    }
    assert required <= set(MAPS)


POLICY = """
id: mine
version: 2
categories:
  a: {name: A, definition: First.}
  b: {name: B, definition: Second.}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an importable package with a policy and two maps."""
    folder = tmp_path / "policy_package_for_tests"
    (folder / "rules" / "maps").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "rules" / "mine.yaml").write_text(POLICY)
    maps = folder / "rules" / "maps"
    (maps / "mine__llama-guard-3@1.yaml").write_text("a: missing\nb: missing\n")
    (maps / "mine__llama-guard-3@10.yaml").write_text("a: {exact: S1}\nb: missing\n")
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    load_policy.cache_clear()
    return folder


RESOURCES = "policy_package_for_tests:rules"


def test_a_plugin_brings_its_policy_and_maps(package: Path) -> None:
    """A resource is a policy; the newest map beside it is used."""
    mine = load_policy(f"{RESOURCES}/mine.yaml")

    policy_map = find_map(mine, load_policy("llama-guard-3"))

    assert ("mine", "2", ("a", "b")) == (mine.id, mine.version, mine.codes)
    assert policy_map is not None
    assert "mine__llama-guard-3@10" == policy_map.id
    assert "no counterpart for b" == policy_map.note


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{RESOURCES}/nope.yaml", "no policy data in"),
        ("no_such_package_at_all:x.yaml", "no policy data in"),
    ],
)
def test_a_missing_resource_is_refused(package: Path, name: str, words: str) -> None:
    """Package and path are named."""
    with pytest.raises(DataError, match=words):
        load_policy(name)


def test_a_policy_without_definitions_is_refused(package: Path) -> None:
    """The missing key is named."""
    (package / "rules" / "mine.yaml").write_text(
        "id: x\nversion: 1\ncategories: {a: {}}"
    )

    with pytest.raises(DataError, match="KeyError: 'name'"):
        load_policy(f"{RESOURCES}/mine.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {exact: S1}", r"\['b'\]"),
        ("a: {exact: S99}\nb: missing", r"\['S99'\]"),
        ("a: {nearly: S1}\nb: missing", "expected exact, partial or missing"),
        ("a: {exact: [S1, S2]}\nb: missing", "a: exact names one code"),
        ("a: {partial: [S1, S1]}\nb: missing", "a: a code is named twice"),
        ("a: {partial: []}\nb: missing", "expected exact, partial or missing"),
        ("a: missing\na: {exact: S1}\nb: missing", "the key 'a' occurs twice"),
        ("- a\n- b", "expected keys and values, got list"),
        ("", r"\['a', 'b'\]"),
        ("a: {exact: S1", "is no YAML"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    package: Path, text: str, words: str
) -> None:
    """A source code left out, an unknown target and an unknown word."""
    path = package / "rules" / "maps" / "mine__llama-guard-3@11.yaml"
    path.write_text(text)

    with pytest.raises(DataError, match=words):
        find_map(load_policy(f"{RESOURCES}/mine.yaml"), load_policy("llama-guard-3"))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ("S1: {c}\n  S1: {c}", "the key 'S1' occurs twice"),
        ("1.1: {c}\n  1.10: {c}", "reads a code as 1.1: put codes in quotes"),
        ("no: {c}", "reads a code as False"),
        ("2024-01-01: {c}", "put codes in quotes"),
        ("null: {c}", "reads a code as None"),
    ],
)
def test_codes_that_yaml_reads_otherwise_are_refused(
    codes: str, message: str, tmp_path: Path
) -> None:
    """Of two codes one would be lost, or rows would name another."""
    path = tmp_path / "own.yaml"
    category = "{name: A, definition: B}"
    listed = codes.replace("{c}", category)
    path.write_text(f"id: own-{len(codes)}\nversion: 1\ncategories:\n  {listed}\n")

    with pytest.raises(DataError, match=re.escape(message)):
        load_policy(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: 2024", "id is no text, but 2024: put it in quotes"),
        ("id: [a]", "id is no text, but ['a']"),
        ("id:", "id is no text, but None"),
        ("id: ' a'", "id: ' a' is no single line without"),
        ('id: "a\\nb"', "is no single line without"),
        ("id: ''", "id: '' is no single line"),
        ("A: {name: , definition: b}", "name of 'A' is no text, but None"),
        ("A: {name: [x], definition: b}", "name of 'A' is no text, but ['x']"),
        ("A: {name: x, definition: 3}", "definition of 'A' is no text, but 3"),
        ("' A': {name: x, definition: b}", "is no single line without spaces"),
        ('"A\\e[31m": {name: x, definition: b}', "is no single line without spaces"),
    ],
)
def test_what_is_no_text_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Codes that differ by a space look alike, and numbers have no hash."""
    path = tmp_path / "own.yaml"
    name, category = "id: of-no-texts", "A: {name: x, definition: b}"
    name, category = (text, category) if text.startswith("id") else (name, text)
    path.write_text(f"{name}\nversion: 1\ncategories:\n  {category}\n")

    with pytest.raises(DataError, match=re.escape(message)):
        load_policy(str(path))


def test_whole_numbers_may_be_codes(tmp_path: Path) -> None:
    """They are their text."""
    path = tmp_path / "numbers.yaml"
    path.write_text(
        "id: numbers\nversion: 1\n"
        "categories: {1: {name: A, definition: B}, '1.10': {name: C, definition: D}}\n"
    )

    assert ("1", "1.10") == load_policy(str(path)).codes
