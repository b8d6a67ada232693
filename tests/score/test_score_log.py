"""`score FILE -o DIR`: a log is judged shard by shard, and goes on where it was."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.classifiers.keyword import Keyword
from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

ROWS = [
    {
        "id": f"r{i}",
        "prompt": f"{i} {'bomb' if i % 3 == 0 else 'café'}",
        "time": f"2026-01-{i + 1:02d}",
    }
    for i in range(11)
]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> Any:
    """Return what scores a log in an empty folder, three rows a shard."""
    monkeypatch.chdir(tmp_path)
    write(ROWS)

    def run(*words: str, code: int = 0) -> Result:
        asked = ["score", *words]
        if "-c" not in words:
            asked += ["-c", "keyword"]
        if "-o" in words:
            asked += ["--shard-size", "3"]
        result = CliRunner().invoke(cli, asked, obj=plugins)
        assert code == result.exit_code, result.output
        return result

    return run


def write(rows: list[Any], name: str = "log.jsonl") -> None:
    """Write lines, objects as JSON and texts as they are."""
    from pathlib import Path

    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data = "".join(line + "\n" for line in lines).encode()
    packed = gzip.compress(data) if name.endswith(".gz") else data
    Path(name).write_bytes(packed)


def shards(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder of scores."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json*"))}


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the scores of a folder, in order."""
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(x) for p in paths for x in p.read_text("utf-8").splitlines()]


def test_scores_are_those_that_single_prompts_get(score: Any, tmp_path: Path) -> None:
    """One line a row, in order, with its id and time, in shards of three."""
    score("log.jsonl", "-o", "out")

    scored = lines(tmp_path / "out")
    alone = score("--json", "--prompt-file", "log.jsonl").stdout.splitlines()
    for row, line, single in zip(ROWS, scored, map(json.loads, alone), strict=True):
        assert (row["id"], row["time"]) == (line["id"], line["time"])
        assert (single["score"], single["verdict"]) == (line["score"], line["verdict"])
    assert 4 == len(list((tmp_path / "out").glob("*.jsonl")))


def test_who_was_interrupted_goes_on_to_the_same_bytes(
    score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished shards are not asked about again; a changed one is made again."""
    score("log.jsonl", "-o", "whole")
    record, calls = Keyword.record, []

    def dies_at_the_third(self: Keyword, samples: Any, *rest: Any) -> Any:
        calls.append([sample.id for sample in samples])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return record(self, samples, *rest)

    monkeypatch.setattr(Keyword, "record", dies_at_the_third)
    score("log.jsonl", "-o", "out", code=130)
    refused = CliRunner().invoke(cli, ["drift", "whole", "out"], obj=Plugins())
    assert 2 == refused.exit_code
    score("log.jsonl", "-o", "out")

    assert [["r6", "r7", "r8"], ["r9", "r10"]] == calls[3:]
    assert shards(tmp_path / "whole") == shards(tmp_path / "out")
    score("log.jsonl", "-o", "out")
    assert 5 == len(calls)
    (tmp_path / "out" / "scores-00001.jsonl").write_text("{}\n")
    score("log.jsonl", "-o", "out")
    assert ["r3", "r4", "r5"] == calls[-1]
    aside = tmp_path / "out" / "scores-00001.jsonl.set-aside"
    assert "{}\n" == aside.read_text()
    aside.unlink()
    assert shards(tmp_path / "whole") == shards(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-c", "keyword,saturation=2"), "saturation: 1.0 there, 2.0 asked for"),
        (("--format", "parquet"), "format: 'jsonl' there, 'parquet' asked for"),
        (("--column", "text"), "column: 'prompt' there, 'text' asked for"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_options_are_refused_in_the_same_folder(
    score: Any, words: tuple[str, ...], message: str
) -> None:
    """Half of a folder would be of another guard."""
    score("log.jsonl", "-o", "out")

    assert message in score("log.jsonl", "-o", "out", *words, code=2).output


def test_another_file_is_refused_in_the_same_folder(score: Any, tmp_path: Path) -> None:
    """A row that was added, too; and a folder that holds something else."""
    score("log.jsonl", "-o", "out")
    write([*ROWS, {"prompt": "more"}])

    assert "11 there, 12 asked for" in score("log.jsonl", "-o", "out", code=2).output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("x")
    assert "something else" in score("log.jsonl", "-o", "mine", code=2).output


def test_bad_rows_are_named_before_anything_is_judged(
    score: Any, tmp_path: Path
) -> None:
    """Each by its line; skipped, the others are judged and they are counted."""
    bad = ["{", '{"id": "x"}', ROWS[0], "[1]", '{"prompt": " "}', '{"prompt": 3}']
    write([*ROWS[:4], *bad, *ROWS[4:]])

    refused = score("log.jsonl", "-o", "out", code=2).output
    for number in range(5, 11):
        assert f"log.jsonl:{number}: " in refused
    assert "id 'r0' repeats log.jsonl:1" in refused
    assert not list(tmp_path.glob("out/scores*"))

    result = score("log.jsonl", "-o", "out", "--on-error", "skip")
    assert "11 rows, 7 safe, 4 unsafe, 6 left out" in result.output
    assert [row["id"] for row in ROWS] == [row["id"] for row in lines(tmp_path / "out")]
    assert [1, 2, 3, 4, 11, 12] == [r["row"] for r in lines(tmp_path / "out")][:6]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "empty, there is nothing to judge"),
        (['{"a', "x"], "no row can be judged"),
        ([{"prompt": "a"}, {"prompt": "a", "response": "b"}], "--task prompt_harm"),
        ([{"text": "a"}], "is it 'text'?"),
        (['[{"prompt": "a"}]'], "one object a line"),
    ],
    ids=["empty", "bad", "mixed", "column", "array"],
)
def test_what_is_no_log_is_refused(score: Any, rows: list[Any], message: str) -> None:
    """With what would work."""
    write(rows)

    assert message in score("log.jsonl", "-o", "out", code=2).output


def test_forms_of_files_give_the_same_scores(score: Any, tmp_path: Path) -> None:
    """Packed lines, and a table whose text stands in another column."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    score("log.jsonl", "-o", "out")
    write(ROWS, "log.jsonl.gz")
    table = [{"id": r["id"], "text": r["prompt"], "time": r["time"]} for r in ROWS]
    pq.write_table(pa.Table.from_pylist(table), "log.parquet")

    score("log.jsonl.gz", "-o", "packed")
    score("log.parquet", "-o", "table", "--column", "text", "--format", "parquet")

    plain, packed = lines(tmp_path / "out"), lines(tmp_path / "packed")
    assert plain == packed
    paths = sorted((tmp_path / "table").glob("*.parquet"))
    read = [row for path in paths for row in pq.read_table(path).to_pylist()]
    for one, other in zip(plain, read, strict=True):
        assert one["row"] == other["row"] + 1
        assert {k: one[k] for k in ("id", "score", "verdict", "time")} == {
            k: other[k] for k in ("id", "score", "verdict", "time")
        }


def test_drift_reads_the_folder(score: Any, tmp_path: Path, plugins: Plugins) -> None:
    """As it reads the same lines in one file; a changed shard is refused."""
    write([{"prompt": f"bomb {i}" if i % 3 else f"{i}"} for i in range(30)])
    score("log.jsonl", "-o", "out")
    text = "".join(p.read_text() for p in sorted((tmp_path / "out").glob("*.jsonl")))
    (tmp_path / "one.jsonl").write_text(text)

    def drift(scores: str) -> Result:
        words = ["drift", "one.jsonl", scores, "--format", "json"]
        return CliRunner().invoke(cli, words, obj=plugins)

    folder, file = drift("out"), drift("one.jsonl")
    assert 0 == folder.exit_code == file.exit_code, folder.output
    assert folder.stdout.replace('"out"', '"one.jsonl"') == file.stdout
    (tmp_path / "out" / "scores-00000.jsonl").write_text(text[:100])
    assert "was changed" in drift("out").output


def test_options_of_logs_need_a_folder(score: Any) -> None:
    """Of a single prompt they would be ignored in silence."""
    assert "-o" in score("hello", "--on-error", "skip", code=2).output
    assert "one classifier" in score(
        "log.jsonl", "-o", "out", "-c", "keyword", "-c", "b=keyword", code=2
    ).output  # fmt: skip
