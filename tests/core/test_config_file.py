"""Option files beneath flags: names of keys, unknown ones, and which value wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safebench.config_file import (
    OptionFile,
    merge_flags,
    parse_key_values,
    parse_yaml_mapping,
)
from safebench.errors import OptionError

FILE = Path("run.yaml")


def test_dashes_in_a_file_are_those_of_flags() -> None:
    """What is ``--max-failures`` at the prompt may be so in a file."""
    values = OptionFile(FILE, {"max-failures": 3, "seed": 1}).options(
        ["max_failures", "seed"]
    )

    assert {"max_failures": 3, "seed": 1} == values


def test_an_unknown_key_is_answered_with_the_nearest_and_all() -> None:
    """An alias is suggested, too, but the list has the names alone."""
    with pytest.raises(OptionError) as caught:
        OptionFile(FILE, {"clasifier": "x"}).options(
            ["seed", "classifiers"], ["classifier"]
        )

    assert (
        "run.yaml: unknown key 'clasifier'; did you mean 'classifier'?\n"
        "  keys: classifiers, seed"
    ) == caught.value.message


@pytest.mark.parametrize("missing", [None, (), {}])
def test_a_flag_that_was_not_given_leaves_the_value_of_the_file(missing: Any) -> None:
    """Zero and False were given; None and empty ones were not."""
    merged = merge_flags({"seed": 1, "limit": 5}, {"seed": 0, "limit": missing})

    assert {"seed": 0, "limit": 5} == merged


def test_mappings_are_merged_key_by_key() -> None:
    """One label word more at the prompt does not forget those of the file."""
    merged = merge_flags(
        {"label_map": {"a": "safe", "b": "safe"}, "other": {"a": 1}},
        {"label_map": {"b": "unsafe"}, "other": {"b": 2}},
        mappings=("label_map",),
    )

    assert {"a": "safe", "b": "unsafe"} == merged["label_map"]
    assert {"b": 2} == merged["other"]


def test_key_values_are_split_at_the_first_equals_sign() -> None:
    """Spaces around keys and values are dropped, those within are kept."""
    assert {"a": "b=c", "d": "e f"} == parse_key_values(["a=b=c", " d = e f"], "--set")


@pytest.mark.parametrize("pairs", [["a"], ["=b"], ["a=1", "a=2"]])
def test_what_is_no_key_value_is_refused(pairs: list[str]) -> None:
    """The message names the option it was given to."""
    with pytest.raises(OptionError, match=r"^'--set': (expected|'a' is given)"):
        parse_key_values(pairs, "--set")


@pytest.mark.parametrize(
    ("name", "text", "line", "key"),
    [
        ("a.yaml", "limit: 1\nlimit: 2\n", 2, "limit"),
        ("a.yaml", "seed: 1\nset:\n  a: 1\n  b: 2\n  a: 3\n", 5, "a"),
        ("a.yaml", "list:\n- {name: x, name: y}\n", 2, "name"),
        ("a.json", '{"limit": 1,\n "seed": 2,\n "limit": 1}', 3, "limit"),
    ],
)
def test_a_key_that_occurs_twice_is_refused(
    tmp_path: Path, name: str, text: str, line: int, key: str
) -> None:
    """At any depth: YAML would take the last one in silence."""
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(OptionError) as caught:
        OptionFile.read(path)

    assert f"{path}:{line}: the key {key!r} occurs twice" == caught.value.message


def test_keys_of_different_mappings_may_be_equal(tmp_path: Path) -> None:
    """Aliases, merged mappings and siblings repeat keys rightly."""
    path = tmp_path / "a.yaml"
    path.write_text("a: &x {k: 1}\nb: *x\nc: {<<: *x, k: 2}\nd: [{k: 1}, {k: 2}]\n")

    values = OptionFile.read(path).content

    expected = {"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 2}, "d": [{"k": 1}, {"k": 2}]}
    assert expected == values


def test_two_spellings_of_one_key_are_refused() -> None:
    """One of their values would be lost."""
    content = {"max-failures": 1, "max_failures": 2}

    with pytest.raises(OptionError, match="'max-failures' and 'max_failures' are one"):
        OptionFile(FILE, content).options(["max_failures"])


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_a_file_that_is_nested_too_deeply_is_one_line(
    opening: str, tmp_path: Path
) -> None:
    """Damage or malice: the reader of YAML calls itself for every level."""
    path = tmp_path / "config.yaml"
    path.write_text(opening * 5_000, encoding="utf-8")

    with pytest.raises(OptionError, match="is no YAML") as error:
        OptionFile.read(path)
    assert "\n" not in error.value.message


def test_what_a_caller_changes_is_not_read_by_the_next() -> None:
    """A text that was parsed before is not parsed again."""
    text = "a:\n  b: [1]\n"
    first = parse_yaml_mapping(text, "here")
    first["a"]["b"].append(2)

    assert {"a": {"b": [1]}} == parse_yaml_mapping(text, "here")
