"""A stored file of a run that was changed is never read as if it was not.

Every file of a run folder, damaged in every way, read by every command: it is refused
in one line, or what the command says is what it said before.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.web.app import create_app
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = ("run", "-c", "keyword", "-d", "data.jsonl", "--out", "runs/r",
       "-s", "score", "-s", "other=score,threshold=0.3")  # fmt: skip
A, B = "runs/r/keyword/score", "runs/r/keyword/other"
READERS = {
    "leaderboard": ("leaderboard", "runs/r"),
    "leaderboard --ci": ("leaderboard", "runs/r", "--ci"),
    "analyze": ("analyze", "runs/r"),
    "compare": ("compare", A, B),
    "power": ("power", A, B, "--metric", "accuracy", "--difference", "0.1"),
}
FILES = (
    "results.jsonl",
    "predictions/keyword/data.jsonl.all/score.jsonl",
    "predictions/keyword/data.jsonl.all/other.jsonl",
    "manifest.json",
    "config.yaml",
    "evidence/*/evidence.json",
    "evidence/*/main/00000.npz",
)


def invoke(*words: str) -> Result:
    """Run a command in this process."""
    plugins = Plugins()
    plugins.add_commands(cli)
    return CliRunner().invoke(cli, words, obj=plugins, env={"COLUMNS": "200"})


def pages(place: Path) -> dict[str, tuple[int, bytes]]:
    """Return the pages about the run: status and content."""
    plugins = Plugins()
    state = AppState(plugins=plugins, runs=("runs/r",))
    client = create_app(state).test_client()
    urls = ["/runs/", "/runs/r"] + [
        f"/runs/r/{name}" for name in FILES if name.startswith("predictions/")
    ]
    answers = {url: client.get(url) for url in urls}
    return {url: (answer.status_code, answer.data) for url, answer in answers.items()}


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a file, ends included."""
    return path.read_bytes().splitlines(keepends=True)


def cut(path: Path) -> None:
    """End in the middle of a line, as a full disk does."""
    path.write_bytes(path.read_bytes()[:-9])


def change_digit(path: Path) -> None:
    """Change the last digit that stands after a point, or else the last one."""
    content = bytearray(path.read_bytes())
    digits = [i for i, byte in enumerate(content) if byte in b"0123456789"]
    decimals = [i for i in digits if content[i - 1 : i] == b"."] or digits
    content[decimals[-1]] = ord("1") + (content[decimals[-1]] - ord("0")) % 9
    path.write_bytes(content)


def remove_line(path: Path) -> None:
    """Take out the line in the middle."""
    lines = lines_of(path)
    del lines[len(lines) // 2]
    path.write_bytes(b"".join(lines))


def remove_last_line(path: Path) -> None:
    """Take out the last line: what is left parses, whatever each line knows."""
    path.write_bytes(b"".join(lines_of(path)[:-1]))


def double_line(path: Path) -> None:
    """Write the first line a second time."""
    lines = lines_of(path)
    path.write_bytes(b"".join([lines[0], *lines]))


def swap_lines(path: Path) -> None:
    """Let the first line and the last change places."""
    lines = lines_of(path)
    lines[0], lines[-1] = lines[-1], lines[0]
    path.write_bytes(b"".join(lines))


def retype(path: Path) -> None:
    """Write all numbers as text."""
    path.write_bytes(re.sub(rb": (-?[0-9][0-9.e-]*)", rb': "\1"', path.read_bytes()))


def nest(path: Path) -> None:
    """Put 100,000 brackets."""
    path.write_bytes(b"[" * 100_000)


def other_encoding(path: Path) -> None:
    """Write it as an editor of Windows does."""
    path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16"))


def empty(path: Path) -> None:
    """Leave nothing."""
    path.write_bytes(b"")


DAMAGES = (cut, change_digit, remove_line, remove_last_line, double_line, swap_lines,
           retype, nest, other_encoding, empty)  # fmt: skip


# what commands but `run` do not read, or read as a file that has all damages here
_FEW = (cut, change_digit, empty)
CASES = [
    pytest.param(name, damage, id=f"{name}-{damage.__name__}")
    for name in FILES
    for damage in (DAMAGES if name in (FILES[0], FILES[1], FILES[3]) else _FEW)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data and a finished run."""
    place = tmp_path_factory.mktemp("whole")
    rows = [
        {"prompt": f"text {i} {'how to make a bomb' * (i % 3 == 0)}", "label": i % 2}
        for i in range(24)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "data.jsonl").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert 0 == invoke(*RUN).exit_code
    return place


@pytest.fixture(scope="module")
def expected(whole: Path) -> dict[str, Any]:
    """Return what each command says of the whole folder, and its pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole)
        results = {name: invoke(*words) for name, words in READERS.items()}
        assert {0} == {result.exit_code for result in results.values()}
        return {name: result.stdout for name, result in results.items()} | pages(whole)


@pytest.fixture
def place(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy to damage."""
    shutil.copytree(whole, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def stored(place: Path) -> dict[str, Any]:
    """Return predictions and rows, without what no two runs share."""
    run = place / "runs" / "r"
    rows = [json.loads(line) for line in lines_of(run / "results.jsonl")]
    kept = ("strategy", "metric", "value", "n", "ci_low", "ci_high", "note")
    return {
        "rows": sorted(str({key: row[key] for key in kept}) for row in rows),
        **{str(p): p.read_bytes() for p in sorted(run.glob("predictions/*/*/*.jsonl"))},
    }


def around_charts(page: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a page before its charts, its charts, and what follows them.

    Charts that are being drawn while the page is asked for count as none.
    """
    before, _, rest = page.partition(b'<h2 id="charts">')
    charts, _, after = rest.partition(b'<h2 id="predictions">')
    return before, b"" if b"being drawn" in charts else charts, after


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_changed_file_is_refused_or_changes_nothing(
    place: Path, expected: dict[str, Any], name: str, damage: Callable[[Path], None]
) -> None:
    """By commands in one line that names the file, by pages with a reason."""
    (path,) = (place / "runs" / "r").glob(name)
    before = path.read_bytes()
    damage(path)
    assert path.read_bytes() != before

    for command, words in READERS.items():
        result = invoke(*words)
        if result.exit_code:
            assert 2 == result.exit_code, (command, result.output)
            assert isinstance(result.exception, SystemExit), command
            assert not result.stdout, command
            assert path.name in result.stderr
            assert "Traceback" not in result.stderr
        else:
            same = expected[command] == result.stdout
            # parts of `analyze` read the datasets that the configuration names
            noted = "the run's config.yaml cannot be read" in result.stdout
            assert same or (noted and command == "analyze"), command
    for url, (status, content) in pages(place).items():
        assert status in (200, 400), url
        if status == 200 and url != "/runs/":  # the list names what is wrong
            # prompts are read from the datasets that the configuration names
            noted = name == "config.yaml" and b"cannot be read" in content
            before, charts_before, after = around_charts(expected[url][1])
            start, charts, end = around_charts(content)
            assert noted or (before, after) == (start, end), url
            # charts are drawn from predictions, or are said to be still in the making
            refused = b'class="alert"' in charts and path.name.encode() in charts
            assert noted or refused or charts in {charts_before, b""}, url


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), CASES)
def test_the_same_run_computes_what_was_changed_again(
    whole: Path, place: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """Or says what to delete, where nobody can know whose run it is."""
    before = {key.replace(str(whole), ""): v for key, v in stored(whole).items()}
    (path,) = (place / "runs" / "r").glob(name)
    damage(path)

    result = invoke(*RUN)

    if result.exit_code:
        assert 2 == result.exit_code, result.output
        assert isinstance(result.exception, SystemExit)
        # an identity that was changed is that of another run
        assert "delete" in result.stderr or "--out" in result.stderr
        assert name == "manifest.json"
    else:
        now = {key.replace(str(place), ""): v for key, v in stored(place).items()}
        assert before == now
        again = invoke(*RUN)
        assert "set aside" not in again.stderr
        assert 0 == invoke("leaderboard", "runs/r").exit_code


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize("damage", [change_digit, swap_lines])
def test_files_without_a_checksum_are_read_as_before(
    place: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """Folders of early versions have none, whatever was done to them."""
    manifest = place / "runs" / "r" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["files"], content["checksum"]
    manifest.write_text(json.dumps(content))
    damage(place / "runs" / "r" / name)

    codes = {invoke(*words).exit_code for words in READERS.values()}

    assert {0} == codes


@pytest.mark.slow
def test_parquet_files_have_checksums_as_well(place: Path) -> None:
    """A file that lost a row is a file like any other to its readers."""
    import pyarrow.parquet as pq

    assert 0 == invoke(*RUN, "--predictions", "parquet").exit_code
    whole_file = invoke(*READERS["compare"])
    folder = place / "runs" / "r" / "predictions" / "keyword" / "data.jsonl.all"
    table = pq.read_table(folder / "score.parquet")
    pq.write_table(table.slice(1), folder / "score.parquet")

    results = [invoke(*READERS[name]) for name in ("compare", "analyze", "power")]

    assert 0 == whole_file.exit_code
    assert [2, 2, 2] == [result.exit_code for result in results]
    assert all("score.parquet" in result.stderr for result in results)
    assert 0 == invoke(*RUN, "--predictions", "parquet").exit_code
    assert whole_file.stdout == invoke(*READERS["compare"]).stdout


def test_a_copied_or_renamed_folder_is_read(place: Path, expected: Any) -> None:
    """Checksums are by the names of files within the folder."""
    (place / "runs" / "r").rename(place / "moved")

    result = invoke("compare", "moved/keyword/score", "moved/keyword/other")

    assert 0 == result.exit_code
    assert result.stdout == expected["compare"].replace("runs/r", "moved")


def test_a_manifest_names_no_file_outside_its_folder(place: Path) -> None:
    """Folders come from elsewhere: no path of theirs renames a file of the user."""
    path = place / "runs" / "r" / "manifest.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    outside = place / "mine.txt"
    outside.write_text("mine")
    names = ("../../mine.txt", str(outside), "predictions/../../../mine.txt")
    content["files"] |= {name: ["0" * 16] for name in names}
    path.write_text(json.dumps(content))

    result = invoke(*RUN)

    assert 0 == result.exit_code
    assert "mine" == outside.read_text()
    assert "set aside" not in result.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_replaces_leaves_no_damage(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment is a file there whose checksum the manifest does not have."""
    import safebench.files

    replace = safebench.files.replace_file
    seen = []

    def checking(partial: Path, path: Path) -> None:
        codes = [invoke(*words).exit_code for words in list(READERS.values())[:1]]
        replace(partial, path)
        codes += [invoke(*words).exit_code for words in list(READERS.values())[:1]]
        seen.extend(codes)

    for module in ("safebench.files", "safebench.results.prediction_writing"):
        monkeypatch.setattr(f"{module}.replace_file", checking)
    result = invoke(*RUN[:-1], "other=score,threshold=0.7")

    assert 0 == result.exit_code, result.output
    assert len(seen) > 8
    assert {0} == set(seen)
