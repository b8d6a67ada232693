"""An interrupted training is resumed; another training is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    Train = Callable[..., Result]
    Manifest = Callable[[str], dict[str, Any]]


@pytest.mark.slow
def test_an_interrupted_training_goes_on(train: Train, manifest: Manifest) -> None:
    """130 with advice; the folder is refused without --resume and finished with it."""
    command = ("words", "--members", "3", "--out", "m")

    stopped = train(*command, "--interrupt-after", "1")
    refused = train(*command)
    resumed = train(*command, "--resume")

    assert 130 == stopped.exit_code
    assert "repeat the command with --resume" in stopped.stderr
    assert 2 == refused.exit_code
    assert "m holds an unfinished training of words; go on with it" in refused.stderr
    assert 0 == resumed.exit_code, resumed.output
    assert "member 0 is finished" in resumed.stderr
    assert "member 1 is finished" not in resumed.stderr
    assert "done" == manifest("m")["status"]
    assert 2 == len(manifest("m")["commands"])


@pytest.mark.slow
def test_resuming_gives_what_an_uninterrupted_training_gives(train: Train) -> None:
    """The members are the same, file by file."""
    train("words", "--members", "3", "--out", "a", "--interrupt-after", "2")
    train("words", "--members", "3", "--out", "a", "--resume")
    train("words", "--members", "3", "--out", "b")

    for n in range(3):
        name = f"member-{n}.json"
        assert Path("b", name).read_text() == Path("a", name).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (["--members", "2"], "options.members: 3 there, 2 asked for"),
        (["--seed", "5"], "seed: 0 there, 5 asked for"),
        (["--set", "bf16=true"], "arguments.bf16: None there, True asked for"),
        (["--split", "80/10/10"], "split: '70/15/15' there, '80/10/10' asked for"),
    ],
)
def test_resuming_another_training_is_refused(
    train: Train, other: list[str], difference: str
) -> None:
    """Exit code 2, and what differs is named."""
    train("words", "--members", "3", "--out", "m", "--interrupt-after", "1")

    result = train("words", "--members", "3", "--out", "m", "--resume", *other)

    assert 2 == result.exit_code
    assert "holds another training" in result.stderr
    assert difference in result.stderr


def test_other_rows_are_another_training(train: Train) -> None:
    """A file that has changed between two commands is noticed."""
    rows = '{"prompt": "bake %d", "label": 0}\n{"prompt": "steal %d", "label": 1}\n'
    Path("rows.jsonl").write_text("".join(rows % (i, i) for i in range(30)))
    train("words", "-d", "rows.jsonl", "--out", "m", "--interrupt-after", "1")
    Path("rows.jsonl").write_text("".join(rows % (i, i) for i in range(31)))

    result = train("words", "-d", "rows.jsonl", "--out", "m", "--resume")

    assert 2 == result.exit_code
    assert "data.train: " in result.stderr


@pytest.mark.slow
def test_a_training_that_saved_nothing_can_be_replaced(
    train: Train, manifest: Manifest
) -> None:
    """Interrupted before the first member, the folder may be used again."""
    train("words", "--out", "m", "--interrupt-after", "0")
    assert "training" == manifest("m")["status"]

    result = train("words", "--members", "1", "--out", "m")

    assert 0 == result.exit_code, result.output


def test_resuming_what_never_began_says_so(train: Train) -> None:
    """It is a new training, and no mistake."""
    result = train("words", "--members", "1", "--out", "m", "--resume")

    assert 0 == result.exit_code, result.output
    assert "m holds nothing to go on with: a new training" in result.stderr


def test_a_folder_of_other_files_is_refused(train: Train) -> None:
    """Other files are neither overwritten nor added to."""
    Path("home").mkdir()
    Path("home/notes.txt").write_text("kept")

    result = train("words", "--out", "home")

    assert 2 == result.exit_code
    assert "home holds notes.txt and is no training" in result.stderr
    assert ["home/notes.txt"] == [str(p) for p in Path("home").iterdir()]


def test_a_second_process_is_refused(train: Train) -> None:
    """The folder is locked while a training writes to it."""
    import fcntl

    train("words", "--members", "2", "--out", "m", "--interrupt-after", "1")
    with Path("m/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = train("words", "--members", "2", "--out", "m", "--resume")

    assert 2 == result.exit_code
    assert "another safebench run is writing to m" in result.stderr
