"""Packs: what their files say, and what is refused in those of users."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.datasets.pack import expand_packs, load_pack, pack_ids
from safebench.datasets.resolve import resolve_dataset
from safebench.errors import DataError, OptionError, SafebenchError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins

MINE = """\
id: mine
version: 3
sets:
  xstest: 450
  rows.jsonl,task=refusal:
"""


def write_pack(folder: Path, text: str = MINE, name: str = "mine.yaml") -> str:
    """Write a pack file, and return how ``-d`` names it."""
    (folder / name).write_text(text)
    return f"pack:{folder / name}"


@pytest.mark.parametrize("name", pack_ids())
def test_every_set_of_our_packs_can_be_named(name: str, plugins: Plugins) -> None:
    """Names, splits and rows are those of the catalog, as far as it knows them."""
    pack = load_pack(f"pack:{name}")

    for entry in pack.entries:
        request = resolve_dataset(entry.dataset, plugins)
        assert entry.dataset == request.label, "the split is said"
        card = request.spec.card
        expected = card.rows.get(request.split) if card else None
        assert expected in (None, entry.rows)
    assert name == pack.id
    assert pack.summary
    counts = [entry.rows for entry in pack.entries]
    assert (None if None in counts else sum(counts)) == pack.rows


@pytest.mark.parametrize("name", ["response", "refusal"])
def test_a_pack_of_one_task_holds_no_other(name: str, plugins: Plugins) -> None:
    """What a pack is called after is what its sets are labelled for."""
    task = {"response": "response_harm", "refusal": "refusal"}[name]

    tasks = {
        resolve_dataset(entry.dataset, plugins).spec.task
        for entry in load_pack(f"pack:{name}").entries
    }

    assert {task} == tasks


def test_a_pack_of_a_user_is_read_from_its_folder(tmp_path: Path) -> None:
    """Relative paths are meant from where the pack lies, names stay names."""
    pack = load_pack(write_pack(tmp_path))

    assert "mine@3" == pack.name
    assert ["xstest", f"{tmp_path / 'rows.jsonl'},task=refusal"] == [
        entry.dataset for entry in pack.entries
    ]
    assert pack.rows is None
    assert 450 == pack.rows_of("xstest")


def test_a_file_with_a_comma_in_its_name_is_a_file(tmp_path: Path) -> None:
    """It is looked for before what follows a comma is taken for options."""
    (tmp_path / "a,b.jsonl").write_text("")
    text = write_pack(tmp_path, "{id: mine, version: 1, sets: ['a,b.jsonl']}")

    (entry,) = load_pack(text).entries

    assert str(tmp_path / "a,b.jsonl") == entry.dataset


def test_the_hash_depends_on_sets_and_counts(tmp_path: Path) -> None:
    """Two files of one id and version can be told apart."""
    packs = [
        load_pack(write_pack(tmp_path, text))
        for text in (MINE, MINE.replace("450", "451"), MINE.replace("xstest", "catqa"))
    ]

    assert 3 == len({pack.sha256 for pack in packs})
    assert packs[0] == load_pack(write_pack(tmp_path))


def test_a_pack_may_be_a_resource_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pack:PACKAGE:FILE`` for packs that come with a plugin."""
    package = tmp_path / "some_packs"
    (package / "lists").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    write_pack(package / "lists")
    monkeypatch.syspath_prepend(tmp_path)

    pack = load_pack("pack:some_packs:lists/mine.yaml")

    monkeypatch.delitem(sys.modules, "some_packs", raising=False)
    assert f"{package / 'lists' / 'rows.jsonl'},task=refusal" == pack.entries[1].dataset


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sets: [xstest]", "expected id, version, sets"),
        ("", "expected id, version, sets"),
        ("- xstest", "expected keys and values, got list"),
        ("{id: m, version: 1, sets: [], }", "its sets are empty"),
        ("{id: m, version: 1, sets: xstest}", "expected a list of datasets"),
        ("{id: m, version: 1, sets: [xstest, xstest]}", "named twice: xstest"),
        ("{id: m, version: 1, sets: {xstest: 1, xstest: 2}}", "'xstest' occurs twice"),
        ("{id: m, version: 1, sets: {xstest: many}}", "'many' is no number of rows"),
        ("{id: m, version: 1, sets: {xstest: true}}", "True is no number of rows"),
        ("{id: m, version: 1, sets: {xstest: -4}}", "-4 is no number of rows"),
        ("{id: m, version: 1, sets: [3]}", "3 names no dataset"),
        ("{id: m, version: 1, sets: ['pack:core']}", "holds datasets, not packs"),
        ("{id: m, version: 1, set: [a], sets: [b]}", "'set'; did you mean 'sets'"),
        ("{id: a@b, version: 1, sets: [xstest]}", "id 'a@b': letters, digits"),
        ("{id: m, version: '', sets: [xstest]}", "version '': letters, digits"),
        ("{id: core, version: 1, sets: [xstest]}", "that of a pack of safebench"),
        ("id: [", "is no YAML"),
    ],
)
def test_a_file_that_is_no_pack_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    """In one message, which names the file or the pack."""
    with pytest.raises(SafebenchError) as caught:
        load_pack(write_pack(tmp_path, text))

    assert words in caught.value.message
    assert "mine.yaml" in caught.value.message or "pack core" in caught.value.message


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("pack:jailbrake", UnknownNameError, "did you mean 'jailbreak'"),
        ("pack:", UnknownNameError, "there is: core"),
        ("pack:core@99", OptionError, "version 1 is installed"),
        ("pack:core,task=refusal", OptionError, "takes turns=all and no other"),
        ("pack:nowhere/mine.yaml", DataError, "no pack file nowhere/mine.yaml"),
        ("pack:no_such_package:a.yaml", DataError, "no package 'no_such_package'"),
        ("pack:safebench:none.yaml", DataError, "no pack file safebench:none.yaml"),
    ],
)
def test_an_unknown_pack_is_answered_with_what_would_work(
    text: str, error: type[SafebenchError], words: str
) -> None:
    """The nearest name, the version there is, or where was looked."""
    with pytest.raises(error) as caught:
        load_pack(text)

    assert words in caught.value.message


def test_a_misspelt_file_names_its_neighbour(tmp_path: Path) -> None:
    """A pack file beside the one that was meant."""
    write_pack(tmp_path)

    with pytest.raises(DataError, match=r"did you mean 'mine.yaml'"):
        load_pack(f"pack:{tmp_path / 'mien.yaml'}")


def test_packs_stand_in_their_places(tmp_path: Path) -> None:
    """Datasets keep the order in which they were named."""
    texts = ["catqa", write_pack(tmp_path), "dices"]

    assert [
        ("catqa", None),
        ("xstest", "mine"),
        (f"{tmp_path / 'rows.jsonl'},task=refusal", "mine"),
        ("dices", None),
    ] == [(text, pack and pack.id) for text, pack in expand_packs(texts)]


def test_one_dataset_is_no_pack(plugins: Plugins) -> None:
    """Whatever takes one dataset refuses a pack, and names its datasets."""
    with pytest.raises(OptionError, match=r"pack:refusal is a pack; name one of .*xst"):
        resolve_dataset("pack:refusal", plugins)


def test_packs_are_listed_with_their_counts(plugins: Plugins) -> None:
    """As text and as JSON, with the same rows."""
    text = CliRunner().invoke(cli, ["list", "packs"], obj=plugins).stdout
    lines = CliRunner().invoke(cli, ["list", "packs", "--json"], obj=plugins).stdout

    records = [json.loads(line) for line in lines.splitlines()]

    assert pack_ids() == [record["name"] for record in records]
    for record in records:
        assert f"pack:{record['name']}  (version {record['version']})" in text
        counts = list(record["sets"].values())
        known = None if None in counts else sum(counts)
        assert known == record["rows"]
        rows = "" if known is None else f", {known:,} rows"
        assert f"  {len(counts)} sets{rows}\n" in text


def test_turns_go_to_the_sets_that_may_have_some(tmp_path: Path) -> None:
    """Sets of single prompts and of answers are read as they are."""
    text = write_pack(
        tmp_path,
        "{id: mine, version: 1, sets: {xstest: 450, talks.jsonl: 7, "
        "'answers.jsonl,task=refusal': 3, realharm: , org/set:test: }}",
    )
    talks = f"{tmp_path / 'talks.jsonl'},turns=all"

    pack = load_pack(f"{text},turns=all")

    assert (
        "xstest",
        talks,
        f"{tmp_path / 'answers.jsonl'},task=refusal",
        "realharm",
        "org/set:test,turns=all",
    ) == pack.datasets
    assert 7 == pack.rows_of(talks)
    assert pack.sha256 == load_pack(text).sha256
    assert load_pack(f"{text},turns=last") == load_pack(text)
    assert all(
        "turns" not in name for name in load_pack("pack:core,turns=all").datasets
    )
