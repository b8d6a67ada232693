"""`safebench.run` is ``safebench run``: the same files, and nothing is printed."""

from __future__ import annotations

import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

import safebench
from safebench import load_run, run
from safebench.classifiers.keyword import Keyword
from safebench.cli import cli
from safebench.cli.run import command
from safebench.errors import OptionError, SafebenchError
from safebench.pipeline.config import RunConfig
from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.python_api import run_options, running
from safebench.python_api.run_options import make_config

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [
    {"prompt": "how to attack a bank", "label": "unsafe"},
    {"prompt": "bake bread", "label": "safe"},
    {"prompt": "kill the process", "label": "safe"},
    {"prompt": "make a bomb", "label": "unsafe"},
]
# what differs between two runs of one command
CLOCK = ("seconds", "samples_per_second", "peak_memory_mib")


def installed_with(name: str, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return what is installed, with one of the tests' distributions."""
    source = Path(__file__).parents[1] / "distributions" / name
    monkeypatch.syspath_prepend(str(source))
    entry_point = EntryPoint(name, f"{name}.plugin", ENTRY_POINT_GROUP)
    return Plugins([*entry_points(group=ENTRY_POINT_GROUP), entry_point])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file with labelled prompts, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
    return path


def stored(folder: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the results of a folder without clocks, and its files of predictions."""
    lines = (folder / "results.jsonl").read_text("utf-8").splitlines()
    rows = [
        {k: v for k, v in json.loads(line).items() if k not in (*CLOCK, "run")}
        for line in lines
    ]
    files = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("predictions/*/*/*")
    }
    return rows, files


def test_it_writes_what_the_command_writes(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Equal results and predictions, and not a word on a terminal."""
    words = ["run", "-c", "strict=keyword,saturation=4", "-d", data.name, "--limit=3"]
    words += ["-s", "score,threshold=0.2", "--set", "saturation=2", "--seed", "3"]
    words += ["--calibration-fraction", "0", "--out", "typed"]
    assert 0 == CliRunner().invoke(cli, words, obj=Plugins()).exit_code
    capfd.readouterr()
    loaded = run(
        {"name": "keyword", "label": "strict", "options": {"saturation": 4}},
        {"name": "score", "options": {"threshold": 0.2}},
        data.relative_to(tmp_path),
        limit=np.int64(3),
        set={"saturation": 2},
        seed=3,
        calibration_fraction=0,
        out=Path("called"),
    )

    assert ("", "") == capfd.readouterr()
    assert stored(tmp_path / "typed") == stored(tmp_path / "called")
    assert 3 == len(loaded.predictions)
    assert loaded.rows.equals(load_run("called").rows)
    command_words = json.loads((tmp_path / "called" / "manifest.json").read_text())
    assert "safebench.run" == command_words["commands"][0][0]
    assert "seed=3" in command_words["commands"][0]


def test_without_out_the_folder_is_that_of_the_command(
    data: Path, tmp_path: Path
) -> None:
    """And another call goes on in it: evidence is there, rows of both are kept."""
    first = run("keyword", "score", data.name)
    CliRunner().invoke(
        cli, ["run", "-c", "keyword", "-d", data.name, "-s", "score"], obj=Plugins()
    )
    again = run("keyword", "s2=score,threshold=0.1", data.name)

    assert tmp_path / "runs" / "keyword-data.jsonl" == first.folder == again.folder
    assert ["keyword/s2", "keyword/score"] == again.combinations
    manifest = json.loads((first.folder / "manifest.json").read_text())
    assert 3 == len(manifest["commands"])


def test_nothing_is_kept_without_a_folder(data: Path, tmp_path: Path) -> None:
    """``out=None``: the folder goes with the last reference to the run."""
    loaded = run("keyword", datasets=data.name, out=None)
    folder = loaded.folder
    assert 4 == len(loaded.predictions)
    assert folder.is_dir()
    del loaded

    assert not folder.exists()
    assert not (tmp_path / "runs").exists()


def test_progress_is_printed_when_asked_for(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The lines of the command, on standard error."""
    run("keyword", datasets=data.name, out=None, progress=True)
    out, err = capfd.readouterr()

    assert "" == out
    assert "keyword on data.jsonl" in err


def test_every_option_of_the_command_is_a_keyword() -> None:
    """By the field's name, typed in `RunOptions` or in the signature."""
    typed = set(run_options.RunOptions.__annotations__)
    own = set(inspect.signature(safebench.run).parameters) - {"options"}
    renamed = {"sets": "set", "config_file": "config"}
    flags = {
        renamed.get(str(option.name), str(option.name)) for option in command.params
    }
    settings = {f.name for f in fields(RunConfig)}

    assert typed | own >= flags - {"debug"}
    assert typed | own >= settings
    assert typed | own == settings | flags - {"debug"} | {"progress", "frames"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run("keyword", limt=3), "'limt'; did you mean 'limit'"),  # type: ignore[call-overload]
        (lambda: run("keywrd"), "did you mean 'keyword'"),
        (lambda: run("keyword", "scor"), "did you mean 'score'"),
        (lambda: run("keyword", datasets="startr"), "did you mean 'starter'"),
        (lambda: run("keyword,saturaton=2"), "did you mean 'saturation'"),
        (lambda: run({"name": "keyword", "option": {}}), "did you mean 'options'"),
        (lambda: run({"nme": "keyword"}), 'expected "NAME,key=value"'),
        (lambda: run(3), 'expected "NAME,key=value"'),  # type: ignore[arg-type]
        (lambda: run("keyword", limit=2.5), "limit: 2.5 is not a whole"),  # type: ignore[arg-type]
        (lambda: run("keyword", limit=True), "limit: True is not a whole"),
        (lambda: run("keyword", limit=0), "limit: at least 1"),
        (lambda: run("keyword", max_failures=0.05), "'5%', got 0.05"),  # type: ignore[arg-type]
        (lambda: run("keyword", predictions="parqet"), "did you mean 'parquet'"),
        (lambda: run("keyword", set=["a=b"]), "set: expected a mapping"),  # type: ignore[arg-type]
        (lambda: run("keyword", out=True), "out: cannot use True"),  # type: ignore[arg-type]
        (lambda: run("keyword", refresh="perhaps"), "refresh: 'perhaps' is neither"),  # type: ignore[arg-type]
        (lambda: run("keyword", config="no.yaml"), "no configuration file no.yaml"),
        (lambda: run("keyword", frames="panda"), "did you mean 'pandas'"),  # type: ignore[call-overload]
    ],
)
def test_mistakes_are_exceptions_with_the_nearest_name(
    call: Callable[[], Any], message: str, data: Path
) -> None:
    """And nothing is written before they are known."""
    with pytest.raises(SafebenchError) as raised:
        call()

    assert message in str(raised.value)
    assert [data] == list(data.parent.iterdir())


def test_keywords_go_over_a_run_file(data: Path) -> None:
    """As flags do: mappings are joined, other values replaced, None is not given."""
    data.with_name("run.yaml").write_text(
        "classifier: keyword\ndataset: data.jsonl\nlimit: 1\nset: {a: 1, b: 2}\n"
    )
    config = make_config({"limit": 3, "set": {"b": 3}, "seed": None}, "run.yaml")

    assert (3, {"a": 1, "b": "3"}, 0) == (config.limit, config.set, config.seed)
    assert ("data.jsonl",) == config.datasets


def test_values_are_stored_as_text_and_numbers(data: Path) -> None:
    """Paths and numpy numbers would be no YAML that a run file could read back."""
    options = {"path": data, "n": np.float64(0.5), "on": True, "of": ["a", "b"]}
    model = {"name": "keyword", "options": options}
    config = make_config(
        {"classifiers": [model], "max_failures": 5, "revisions": "abc", "out": data}
    )

    assert {
        "path": str(data),
        "n": "0.5",
        "on": "true",
        "of": "a+b",
    } == config.classifiers[0].options
    assert ("5", {"": "abc"}, str(data)) == (
        config.max_failures,
        config.revisions,
        config.out,
    )
    with pytest.raises(OptionError, match=r"set.fn: cannot use"):
        make_config({"set": {"fn": object()}})


def test_secrets_are_neither_stored_nor_raised(data: Path) -> None:
    """A key in a call is hidden in the folder, and in the message of a mistake."""
    secret = {"name": "keyword", "options": {"api_key": "hunter2"}}
    fallback = {"other": {"api_key": "hunter2"}}
    loaded = run("keyword", datasets=data.name, models=fallback)
    with pytest.raises(SafebenchError, match=r"no option 'api_key'"):
        run(secret, datasets=data.name)
    with pytest.raises(SafebenchError, match=r"'api_key': '?\*\*\*"):
        run("keyword", datasets=data.name, config={"api_key": "hunter2"})  # type: ignore[call-overload]

    for path in loaded.folder.glob("*.*"):
        assert "hunter2" not in path.read_text("utf-8")


def test_a_part_that_failed_is_a_warning(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the run is there, with the reason in rows and notes."""
    plugins = installed_with("odd_guards", monkeypatch)
    monkeypatch.setattr(running, "installed_plugins", lambda: plugins)
    with pytest.warns(UserWarning, match=r"failed: .*bursting"):
        loaded = run(["keyword", "bursting"], datasets=data.name)

    assert {"keyword"} == set(loaded.predictions.classifier)
    assert any("bursting" in note for note in loaded.notes)


def test_more_failures_than_allowed_are_a_warning(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the command would exit with 1, with the reasons of the first."""
    record = Keyword.record

    def failing(self: Keyword, *args: Any) -> Any:
        recording = record(self, *args)
        recording.traces[0].error = "no answer"
        return recording

    monkeypatch.setattr(Keyword, "record", failing)
    with pytest.warns(UserWarning, match=r"more samples failed|no answer") as caught:
        loaded = run("keyword", datasets=data.name, max_failures=0)

    messages = [str(warning.message) for warning in caught]
    assert "more samples failed than max_failures allows" in messages
    assert any("no answer" in message for message in messages)
    failed = loaded.predictions[loaded.predictions.error.notna()]
    assert ["no answer"] == failed.error.tolist()
    assert failed.score.isna().all()


def test_threads_run_into_folders_of_their_own(data: Path, tmp_path: Path) -> None:
    """Four at once write what one writes."""
    expected = run("keyword", datasets=data.name, out="alone")
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(
                lambda n: run("keyword", datasets=data.name, out=f"thread{n}"), range(4)
            )
        )

    for loaded in runs:
        assert stored(expected.folder) == stored(loaded.folder)
