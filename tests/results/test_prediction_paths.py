"""Each combination has a file of its own, whatever the file system makes of names."""

from __future__ import annotations

import unicodedata
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import RunFolderError
from safebench.files import write_jsonl
from safebench.records import Dataset
from safebench.results.prediction_reading import prediction_files, read_predictions
from safebench.results.prediction_writing import (
    StagedPredictions,
    move_misplaced,
    prediction_path,
    write_predictions,
)

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    *(
        "guard",
        "Guard",
        "guarD",
        "a",
        "A",
        "a/b",
        "a_b",
        "a\\b",
        "a:b",
        "a b",
        "a.b",
        "a.",
        "a..b",
        ".a",
        "-a",
    ),
    *("..", ".", "/", "//", "con", "CON", "con.x", "nul", "com1", "lpt9.txt", "conx"),
    *(
        "stra\u00dfe",
        "strasse",
        "STRASSE",
        "\u212b",
        "\u00c5",
        "A\u030a",
        "\u0130",
        "i",
    ),
    *("i\u0307", "x" * 100, "x" * 101, "x" * 300, "a~1", "a_1", "..%2f", "%2e%2e"),
    *("a*", "a?", 'a"', "a<", "a|", "trailing ", "trailing", "\u202ea", "a\u200b"),
]


def dataset(name: str, config: str | None = None, split: str = "test") -> Dataset:
    """Return a dataset that has a name, and nothing else."""
    return Dataset(
        name=name,
        config=config,
        split=split,
        task="prompt_harm",
        policy=None,
        revision="local:0",
        samples=[],
        ground_truth=[],
    )


def as_seen_by_systems(path: Path) -> set[str]:
    """Return a path as case-insensitive and normalizing file systems compare it."""
    return {
        unicodedata.normalize(form, str(path)).casefold()
        for form in ("NFC", "NFD", "NFKC")
    }


@pytest.mark.parametrize("role", ["classifier", "dataset", "strategy"])
def test_names_map_to_paths_one_to_one(tmp_path: Path, role: str) -> None:
    """Below the predictions folder, with parts that every system can keep."""
    paths = {}
    for name in NAMES:
        names = {"classifier": "c", "dataset": "d", "strategy": "s"} | {role: name}
        path = prediction_path(
            tmp_path, names["classifier"], dataset(names["dataset"]), names["strategy"]
        )
        paths[name] = path
        parts = path.relative_to(tmp_path / "predictions").parts
        assert 3 == len(parts), name
        assert all(part.isascii() and len(part) <= 120 for part in parts)
        assert all(
            part.partition(".")[0] not in ("con", "nul", "com1") for part in parts
        )
        assert all(part.strip(". ") == part for part in parts)

    for one, other in combinations(paths, 2):
        assert not as_seen_by_systems(paths[one]) & as_seen_by_systems(paths[other]), (
            one,
            other,
        )


def test_names_of_datasets_are_told_from_their_configs_and_splits(
    tmp_path: Path,
) -> None:
    """Dots join them, and may be in them."""
    parts = ("a", "b", "a.b", "b.test", "jsonl", "a.jsonl", "test")
    keys = [
        (name, config, split)
        for name in parts
        for config in (None, *parts)
        for split in ("test", "b.test", "")
    ]

    paths = {prediction_path(tmp_path, "c", dataset(*key), "s") for key in keys}

    assert len(keys) == len(paths)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("starter", None, "all"), "starter.all"),
        (("prompts.jsonl", None, "all"), "prompts.jsonl.all"),
        (("wild", "en", "test"), "wild.en.test"),
    ],
)
def test_plain_names_stand_for_themselves(
    tmp_path: Path, key: tuple[str, str | None, str], name: str
) -> None:
    """Folders of early versions are found again."""
    path = prediction_path(tmp_path, "keyword", dataset(*key), "score")

    assert tmp_path / "predictions" / "keyword" / name / "score.jsonl" == path


def lines(
    classifier: str, strategy: str = "s", score: float = 0.5
) -> list[dict[str, Any]]:
    """Return the one prediction of a combination."""
    return [
        {
            "id": "d/0",
            "content": "0",
            "group": "g",
            "classifier": classifier,
            "model": "m",
            "strategy": strategy,
            "dataset": "d",
            "config": None,
            "split": "test",
            "part": "test",
            "task": "prompt_harm",
            "score": score,
            "uncertainty": None,
            "decision": True,
            "label": True,
            "categories": None,
        }
    ]


@pytest.mark.parametrize("name", ["org/guard", "Guard", "guard.", "\u00e9"])
def test_the_names_of_predictions_are_those_of_their_lines(
    tmp_path: Path, name: str
) -> None:
    """And not what the path spells."""
    path = prediction_path(tmp_path, name, dataset("d"), "s")
    write_predictions(path, lines(name), "jsonl")

    (file,) = prediction_files(tmp_path)
    (read,) = read_predictions(tmp_path)

    assert (name, "d.test", "s") == (file.classifier, file.dataset, file.strategy)
    assert name == read.classifier


@pytest.mark.parametrize("name", ["org/guard", "Guard", "b.c/d"])
def test_files_of_early_versions_are_moved_to_their_places(
    tmp_path: Path, name: str
) -> None:
    """Unless a newer file of the same is there; what cannot be read stays."""
    old = tmp_path / "predictions" / name.replace("/", "_") / "d.test" / "s.jsonl"
    damaged = old.with_name("damaged.jsonl")
    right = prediction_path(tmp_path, name, dataset("d"), "s")
    for known in (None, "jsonl", "parquet"):
        write_jsonl(old, lines(name))
        damaged.write_text("{")
        if known:
            write_predictions(right, lines(name, score=0.25), known)

        move_misplaced(tmp_path)

        assert damaged.exists()
        damaged.unlink()
        (read,) = read_predictions(tmp_path)
        assert (0.25 if known else 0.5) == read.score[0]
        assert not old.exists()


@pytest.mark.parametrize(
    ("before", "after"), [("jsonl", "parquet"), ("parquet", "jsonl")]
)
def test_one_form_takes_the_place_of_the_other(
    tmp_path: Path, before: str, after: str
) -> None:
    """And where both lie side by side nobody guesses which is meant."""
    path = prediction_path(tmp_path, "c", dataset("d"), "s")
    write_predictions(path, lines("c", score=0.1), before)
    kept = path.with_suffix(f".{before}").read_bytes()
    write_predictions(path, lines("c", score=0.2), after)

    (read,) = read_predictions(tmp_path)
    assert 0.2 == read.score[0]

    path.with_suffix(f".{before}").write_bytes(kept)
    for reader in (prediction_files, read_predictions):
        with pytest.raises(RunFolderError, match="delete the older one, or run again"):
            reader(tmp_path)

    write_predictions(path, iter(()), "none")
    assert not list(path.parent.iterdir())


def test_staged_predictions_appear_together(tmp_path: Path) -> None:
    """Names that begin alike too; until then the old ones are read, or none."""
    names = ["s" * 70 + end for end in "ab"]
    paths = [prediction_path(tmp_path, "c", dataset("d"), name) for name in names]
    for name, path in zip(names, paths, strict=True):
        write_predictions(path, lines("c", name, score=0.1), "jsonl")
    staged = StagedPredictions()
    for name, path in zip(names, paths, strict=True):
        staged.add(path, lines("c", name, score=0.2), "parquet")

    assert [0.1, 0.1] == [p.score[0] for p in read_predictions(tmp_path)]
    with (
        staged.replacing(),
        pytest.raises(RunFolderError, match="no predictions"),
    ):
        prediction_files(tmp_path)

    assert {(name, 0.2) for name in names} == {
        (p.strategy, p.score[0]) for p in read_predictions(tmp_path)
    }
    assert 2 == len(list(paths[0].parent.iterdir()))


@pytest.mark.parametrize("cut", [0, 1, 50, -1, -20])
def test_a_cut_parquet_file_is_named(tmp_path: Path, cut: int) -> None:
    """As a cut JSON Lines file is."""
    path = prediction_path(tmp_path, "c", dataset("d"), "s").with_suffix(".parquet")
    write_predictions(path.with_suffix(".jsonl"), lines("c"), "parquet")
    path.write_bytes(path.read_bytes()[:cut])

    from safebench.errors import DataError

    with pytest.raises(DataError, match=r"s\.parquet"):
        read_predictions(tmp_path)
