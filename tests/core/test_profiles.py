"""Profiles: files by name, path or package, read into dataclasses or refused."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from safebench.errors import OptionError
from safebench.profiles import (
    json_schema,
    parse_section,
    profile_names,
    read_profile,
)

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "shouters:profiles"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How an answer is read."""

    link: Literal["softmax", "sigmoid"] = "softmax"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shouter:
    """A profile with a field of every kind."""

    task: str = field(metadata={"help": "What it answers."})
    threshold: float = 0.5
    length: int | None = None
    loud: bool = False
    reader: Reader = Reader()
    codes: dict[str, str] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise ValueError(f"threshold: at least 0, got {self.threshold}")


@pytest.fixture
def shouters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of profiles in a package that can be imported."""
    folder = tmp_path / "shouters" / "profiles"
    folder.mkdir(parents=True)
    (tmp_path / "shouters" / "__init__.py").touch()
    (folder / "sharp.yaml").write_text("task: prompt_harm\n")
    (folder / "soft.yml").write_text("# soft\ntask: injection\nthreshold: 0.2\n")
    (folder / "notes.txt").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("shouters", None)
    return folder


def test_a_profile_is_found_by_name_path_and_package(
    shouters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three lead to the same content, and other files are no profiles."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("task: prompt_harm  # the same\n")
    references = ("sharp", "shouters:profiles/sharp.yaml", "mine.yaml", "./mine.yaml")

    files = [read_profile(reference, FOLDER) for reference in references]

    assert ["sharp", "soft"] == profile_names(FOLDER)
    assert ["sharp", "sharp", "mine", "mine"] == [file.name for file in files]
    assert 1 == len({file.hash for file in files})
    assert read_profile("soft", FOLDER).hash != files[0].hash
    assert Shouter(task="injection", threshold=0.2) == parse_section(
        Shouter, read_profile("soft", FOLDER).content, "soft"
    )


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("shrap", "did you mean 'sharp'"),
        ("sharp.yml", "no configuration file"),
        ("./sharp", "no configuration file"),
        ("shouters:profiles/sharp.yml", "did you mean 'sharp.yaml'"),
        ("shouter:profiles/sharp.yaml", "no package 'shouter'"),
        ("shouters:nowhere/sharp.yaml", "no file nowhere/sharp.yaml"),
        (":sharp", "no ':sharp' here"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(
    shouters: Path, reference: str, expected: str
) -> None:
    """One error for each way to be wrong; none is a traceback."""
    with pytest.raises(OptionError, match=expected):
        read_profile(reference, FOLDER)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "mine: task is missing"),
        ([], "mine: expected keys and values, got a list"),
        ({"task": "a", "treshold": 1}, "'treshold'; did you mean 'threshold'"),
        ({"task": False}, "mine: task: expected a text, got False; put it in quotes"),
        ({"task": 3}, "got 3; put it in quotes"),
        ({"task": None}, "task: expected a text, got nothing"),
        ({"task": "a", "threshold": "x"}, "threshold: expected a number, got 'x'"),
        ({"task": "a", "threshold": True}, "threshold: expected a number, got True"),
        ({"task": "a", "threshold": -1}, "threshold: at least 0, got -1.0"),
        ({"task": "a", "length": 1.5}, "length: expected a whole number"),
        ({"task": "a", "loud": 1}, "loud: expected true or false"),
        ({"task": "a", "reader": {"lnk": "softmax"}}, "mine: reader: unknown key"),
        ({"task": "a", "reader": {"link": "sigmoit"}}, "did you mean 'sigmoid'"),
        ({"task": "a", "reader": {"names": ["a", 1]}}, "reader: names: expected"),
        ({"task": "a", "codes": ["S1"]}, "codes: expected keys and values"),
        ({"task": "a", "codes": {"x": 1}}, "codes, x: expected a text"),
        ({"task": "a", "codes": {1: "S1"}}, "codes, key 1: expected a text"),
        ({"task": "a", "readers": {"b": {"nam": []}}}, "readers, b: unknown key 'nam'"),
    ],
)
def test_wrong_content_is_refused_with_its_place(content: Any, expected: str) -> None:
    """The message starts with the file and names the key."""
    with pytest.raises(OptionError) as error:
        parse_section(Shouter, content, "mine")

    assert error.value.message.startswith("mine: ")
    assert expected in error.value.message


def test_every_kind_of_field_is_read() -> None:
    """Whole numbers are numbers, one item is a list, null is none."""
    content = {
        "task": "a",
        "threshold": 1,
        "length": None,
        "loud": True,
        "reader": {"link": "sigmoid", "names": "one"},
        "codes": {"x": "S1"},
        "readers": {"b": {"names": ["c", "d"]}},
    }

    read = parse_section(Shouter, content, "mine")

    assert 1.0 == read.threshold
    assert isinstance(read.threshold, float)
    assert Reader(link="sigmoid", names=("one",)) == read.reader
    assert {"b": Reader(names=("c", "d"))} == read.readers


def test_the_schema_says_what_is_read() -> None:
    """Required keys, choices, help texts and nested sections."""
    schema = json_schema(Shouter)

    assert ["task"] == schema["required"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert "What it answers." == properties["task"]["description"]
    assert {"anyOf": [{"type": "integer"}, {"type": "null"}]} == properties["length"]
    reader = properties["reader"]["properties"]
    assert {"enum": ["softmax", "sigmoid"]} == reader["link"]
    assert {"type": "array", "items": {"type": "string"}} in reader["names"]["anyOf"]
    assert "additionalProperties" in properties["codes"]
