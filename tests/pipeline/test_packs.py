"""Runs of packs: their sets, what is missing, and what is written about them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import DataError, OptionError
from safebench.pipeline.config import RunConfig
from safebench.pipeline.evaluation_set import load_evaluation_sets
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed: the table of a run is asked for by its full name."""
    return Plugins()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with three files of data and packs of them."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        rows = [
            {"prompt": f"{name}{i}: how to make a bomb" if i % 2 else f"{name}{i}",
             "label": i % 2}
            for i in range(12)
        ]  # fmt: skip
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    write_pack(tmp_path, "first", ["a.jsonl", "b.jsonl"])
    write_pack(tmp_path, "second", ["b.jsonl", "c.jsonl"])
    write_pack(tmp_path, "holey", ["a.jsonl", "gone.jsonl", "lost.jsonl"])
    return tmp_path


def write_pack(folder: Path, name: str, sets: list[str], version: int = 1) -> None:
    """Write ``NAME.yaml``."""
    content = {"id": name, "version": version, "sets": sets}
    (folder / f"{name}.yaml").write_text(json.dumps(content))


def run(plugins: Plugins, *args: str) -> Result:
    """Run keyword on datasets into the folder ``out``."""
    command = ["run", "-c", "keyword", "--out", "out", *args]
    return CliRunner().invoke(cli, command, obj=plugins)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Return a result row for each dataset of the run in ``out``."""
    lines = (folder / "out" / "results.jsonl").read_text().splitlines()
    return {row["dataset"]: row for row in map(json.loads, lines)}


def test_a_set_of_two_packs_is_judged_once(plugins: Plugins, folder: Path) -> None:
    """Its rows name both packs, those of a set without a pack none."""
    done = run(plugins, "-d", "pack:first.yaml", "-d", "pack:second.yaml")

    assert 0 == done.exit_code, done.output
    assert {
        "a.jsonl": "first@1",
        "b.jsonl": "first@1, second@1",
        "c.jsonl": "second@1",
    } == {name: row["pack"] for name, row in rows(folder).items()}


def test_a_set_named_beside_its_pack_is_no_second_one(
    plugins: Plugins, folder: Path
) -> None:
    """By another spelling, too; a set that is named twice by hand is refused."""
    config = RunConfig(datasets=("starter:all", "b.jsonl", "pack:first.yaml"))
    write_pack(folder, "first", ["starter", "b.jsonl"])

    sets = load_evaluation_sets(config, plugins)

    assert ["starter:all", "b.jsonl:all"] == [s.dataset.label for s in sets]
    assert [["first@1"]] * 2 == [[u.pack.name for u in s.packs] for s in sets]
    with pytest.raises(OptionError, match="2 datasets would be called b"):
        load_evaluation_sets(RunConfig(datasets=("b.jsonl", "b.jsonl")), plugins)


def test_rows_without_a_pack_are_written_as_before(
    plugins: Plugins, folder: Path
) -> None:
    """No field of packs, and no entry of the manifest."""
    run(plugins, "-d", "a.jsonl")

    assert {"pack", "pack_missing"}.isdisjoint(rows(folder)["a.jsonl"])
    assert "packs" not in json.loads((folder / "out/manifest.json").read_text())


def test_all_sets_that_cannot_be_read_are_named_at_once(
    plugins: Plugins, folder: Path
) -> None:
    """Before anything runs, with what to do about each and about all."""
    done = run(plugins, "-d", "pack:holey.yaml")

    assert 2 == done.exit_code
    assert "2 of 3 sets of pack holey@1 cannot be read" in done.output
    assert "gone.jsonl: no file" in done.output
    assert "lost.jsonl: no file" in done.output
    assert "--skip-missing goes on without them" in done.output
    assert not (folder / "out").exists()


def test_skip_missing_goes_on_and_the_table_says_so(
    plugins: Plugins, folder: Path
) -> None:
    """The run, its rows, its manifest and every later table name what is missing."""
    done = run(plugins, "-d", "pack:holey.yaml", "--skip-missing")
    table = CliRunner().invoke(cli, ["leaderboard", "out"], obj=plugins).stdout

    assert 0 == done.exit_code, done.output
    assert "pack holey@1 is run without\n  gone.jsonl: no file" in done.output
    assert "pack holey@1 without gone.jsonl, lost.jsonl" in done.stdout
    assert "pack holey@1 without gone.jsonl, lost.jsonl" in table
    assert "gone.jsonl, lost.jsonl" == rows(folder)["a.jsonl"]["pack_missing"]
    manifest = json.loads((folder / "out/manifest.json").read_text())
    assert {"gone.jsonl", "lost.jsonl"} == manifest["packs"]["holey@1"][
        "missing"
    ].keys()


def test_what_was_missing_may_come_later(plugins: Plugins, folder: Path) -> None:
    """The same command goes on, and nothing is called missing any more."""
    run(plugins, "-d", "pack:holey.yaml", "--skip-missing")
    for name in ("gone", "lost"):
        text = (folder / "c.jsonl").read_text()
        (folder / f"{name}.jsonl").write_text(text)

    done = run(plugins, "-d", "pack:holey.yaml")

    assert 0 == done.exit_code, done.output
    assert ["a.jsonl", "gone.jsonl", "lost.jsonl"] == sorted(rows(folder))
    assert not any(row.get("pack_missing") for row in rows(folder).values())


def test_a_pack_of_which_nothing_is_there_is_refused(
    plugins: Plugins, folder: Path
) -> None:
    """Nothing can be gone on with, and the message does not promise it."""
    write_pack(folder, "holey", ["gone.jsonl"])

    done = run(plugins, "-d", "pack:holey.yaml", "--skip-missing")

    assert 2 == done.exit_code
    assert "1 of 1 sets of pack holey@1" in done.output
    assert "goes on" not in done.output


def test_a_set_that_was_named_by_hand_is_never_skipped(
    plugins: Plugins, folder: Path
) -> None:
    """A typing error must not look like a run."""
    config = RunConfig(datasets=("a.jsonl", "nothing.jsonl"), skip_missing=True)

    with pytest.raises(DataError, match="no file nothing"):
        load_evaluation_sets(config, plugins)


def test_other_numbers_of_rows_are_noted(plugins: Plugins, folder: Path) -> None:
    """A slice of a set is not what others of the pack were measured on."""
    content = {"id": "counted", "version": 1, "sets": {"a.jsonl": 12, "b.jsonl": 99}}
    (folder / "counted.yaml").write_text(json.dumps(content))
    config = RunConfig(datasets=("pack:counted.yaml",), limit=4)

    notes = [s.notes for s in load_evaluation_sets(config, plugins)]

    assert not any("counts" in note for note in notes[0])
    assert any("12 rows, where pack counted@1 counts 99" in note for note in notes[1])


def test_a_changed_pack_of_the_same_version_is_noticed(
    plugins: Plugins, folder: Path
) -> None:
    """Runs of one folder that are about other sets say so."""
    run(plugins, "-d", "pack:first.yaml")
    write_pack(folder, "first", ["a.jsonl", "c.jsonl"])

    done = run(plugins, "-d", "pack:first.yaml")

    assert "pack first@1 names other sets than when out was written" in done.output
    write_pack(folder, "first", ["a.jsonl", "b.jsonl", "c.jsonl"], version=2)
    assert "names other sets" not in run(plugins, "-d", "pack:first.yaml").output


def test_an_unknown_set_is_named_with_its_pack(plugins: Plugins, folder: Path) -> None:
    """A name that nobody knows is no missing set, whatever is skipped."""
    write_pack(folder, "first", ["a.jsonl", "xtsest"])

    done = run(plugins, "-d", "pack:first.yaml", "--skip-missing")

    assert 2 == done.exit_code
    assert (
        "pack first@1: unknown dataset 'xtsest'; did you mean 'xstest'" in done.output
    )


def test_slices_of_a_pack_are_read_again(plugins: Plugins, folder: Path) -> None:
    """`analyze` finds the columns of every set that the run judged."""
    run(plugins, "-d", "pack:holey.yaml", "--skip-missing")

    done = CliRunner().invoke(cli, ["analyze", "out", "--slice", "length"], obj=plugins)

    assert 0 == done.exit_code, done.output
    assert "quarters by the characters of all turns" in done.output


def test_the_folder_of_a_run_is_named_after_its_pack(
    plugins: Plugins, folder: Path
) -> None:
    """And not after each of its sets."""
    CliRunner().invoke(
        cli, ["run", "-c", "keyword", "-d", "pack:first.yaml"], obj=plugins
    )

    assert ["keyword-pack-first"] == [p.name for p in (folder / "runs").iterdir()]
