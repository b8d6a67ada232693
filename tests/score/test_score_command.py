"""`safebench score`: any classifier, one conversation, a result or a clear error."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Score = Callable[..., Result]

FIRST = ["verdict", "score", "categories", "cost", "uncertainty", "seconds", "model"]


def only_record(result: Result) -> dict[str, Any]:
    """Return the one JSON object that was printed."""
    (line,) = result.stdout.splitlines()
    record: dict[str, Any] = json.loads(line)
    return record


def test_a_prompt_is_judged_by_its_words(score: Score) -> None:
    """One alarming word of the list gives h / (h + 1) = 1/2, which is unsafe."""
    record = only_record(score("-c", "keyword", "--json", "how to attack a castle"))

    assert ("unsafe", 0.5, True) == (
        record["verdict"],
        record["score"],
        record["harmful"],
    )
    assert FIRST == list(record)[:7]
    assert ("prompt_harm", "score") == (record["task"], record["strategy"])


@pytest.mark.slow
def test_the_score_is_what_run_writes(score: Score, tmp_path: Path) -> None:
    """A prediction line of `run` on the same text has the same numbers, in full."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")
    text = "how do I build a bomb"
    row = json.dumps({"prompt": text, "label": "unsafe"})
    (tmp_path / "one.jsonl").write_text(row + "\n", encoding="utf-8")
    command = ["run", "-c", "llamaguard", "-d", str(tmp_path / "one.jsonl")]
    command += ["--calibration-fraction", "0", "--out", str(tmp_path / "run")]
    assert 0 == CliRunner().invoke(cli, command, obj=Plugins()).exit_code
    (file,) = (tmp_path / "run").glob("predictions/*/*/marginal_any.jsonl")
    expected = json.loads(file.read_text(encoding="utf-8"))

    record = only_record(score("-c", "llamaguard", "--json", text))

    for name in ("score", "lower", "upper", "uncertainty"):
        assert float(f"{expected[name]:.6g}") == record[name], name
    for name in ("raw", "tokens_in"):
        assert expected[name] == record[name], name
    assert {code: float(f"{p:.6g}") for code, p in expected["categories"].items()} == {
        code: share["score"] for code, share in record["categories"].items()
    }
    assert "Violent Crimes" == record["categories"]["S1"]["name"]


def test_a_response_is_judged_instead_of_its_prompt(score: Score) -> None:
    """With a response the task is response_harm, and its words alone count."""
    record = only_record(
        score("-c", "keyword", "--json", "--response", "No.", "attack them all")
    )

    assert ("safe", 0.0, "response_harm") == (
        record["verdict"],
        record["score"],
        record["task"],
    )


def test_another_task_can_be_asked_for(score: Score) -> None:
    """`--task prompt_harm` judges the prompt although there is a response."""
    args = ["--task", "prompt_harm", "--response", "No.", "attack them all"]

    record = only_record(score("-c", "keyword", "--json", *args))

    assert ("prompt_harm", 0.5) == (record["task"], record["score"])


def test_a_cost_is_shown_with_its_sign(score: Score) -> None:
    """Two bads cost 0.5: unsafe from 0 on; one bad costs -0.5 and is safe."""
    unsafe = only_record(score("-c", "priced", "--json", "bad bad"))
    safe = only_record(score("-c", "priced", "--json", "bad"))

    assert ("unsafe", 0.5, 0.5) == (unsafe["verdict"], unsafe["cost"], unsafe["score"])
    assert ("safe", -0.5) == (safe["verdict"], safe["cost"])
    assert [0.0, False] == [unsafe["threshold"], unsafe["probability"]]
    assert ["too long: 7 tokens were cut from the left"] == unsafe["notes"]


def test_text_for_a_pipe_is_plain_and_whole(score: Score) -> None:
    """Every fact is on a line of its own; there are no colours."""
    result = score("-c", "priced", "bad bad")

    assert "verdict      unsafe" == result.stdout.splitlines()[0]
    assert "score        0.5 (not a probability; unsafe from 0)" in result.stdout
    assert "cost         0.5 (below 0 is safe)" in result.stdout
    assert "\x1b" not in result.stdout


def test_json_lines_are_answered_line_by_line(score: Score) -> None:
    """Each conversation gets an answer that names its line; a blank line is none."""
    lines = [
        {"prompt": "attack"},
        {"prompt": "attack", "response": "No."},
        {"messages": [{"role": "user", "content": "a kind word"}]},
    ]
    text = "\n\n".join(map(json.dumps, lines))

    result = score("-c", "keyword", "--json", "-", stdin=text)

    record = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["stdin:1", "stdin:3", "stdin:5"] == [a["where"] for a in record]
    assert [0.5, 0.0, 0.0] == [a["score"] for a in record]
    assert ["prompt_harm", "response_harm", "prompt_harm"] == [
        a["task"] for a in record
    ]


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (["-"], "attack\nattack weapon\n", 2),
        (["-"], '{"text": "attack"}', 1),
        (["--input", "text", "-"], '{"prompt": "attack"}', 1),
        (['{"prompt": "attack weapon"}'], "", 2),
    ],
    ids=["lines", "other JSON", "asked for", "argument"],
)
def test_other_input_is_one_prompt(
    score: Score, args: list[str], stdin: str, words: int
) -> None:
    """Plain text, other JSON and any argument are judged as they are, whole."""
    record = only_record(score("-c", "keyword", "--json", *args, stdin=stdin))

    assert round(words / (words + 1), 6) == record["score"]
    assert "where" not in record


def test_a_prompt_can_come_from_a_file(score: Score, tmp_path: Path) -> None:
    """`--prompt-file` reads the prompt, to go with a response or alone."""
    (tmp_path / "letter.txt").write_text("attack\n", encoding="utf-8")
    path = str(tmp_path / "letter.txt")

    alone = only_record(score("-c", "keyword", "--json", "--prompt-file", path))
    answered = only_record(
        score("-c", "keyword", "--json", "--prompt-file", path, "--response", "No.")
    )

    assert [0.5, 0.0] == [alone["score"], answered["score"]]


@pytest.mark.slow
def test_all_strategies_read_one_record(score: Score) -> None:
    """`-s all` gives one answer each, from one forward pass."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")

    result = score("-c", "llamaguard", "-s", "all", "--json", "hello")

    record = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"greedy", "marginal_any", "msp"} <= {a["strategy"] for a in record}
    assert 1 == len({a["raw"] for a in record})
    assert all(a["verdict"] in ("safe", "unsafe") for a in record)


def test_several_classifiers_answer_one_after_another(score: Score) -> None:
    """Each by its own strategy; a file's conversations come one after another."""
    args = ["-c", "keyword", "-c", "mild=keyword,saturation=3", "-c", "priced"]

    result = score(*args, "--json", "-", stdin='{"prompt": "attack"}\n{"prompt": "x"}')

    record = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["keyword", "mild", "priced"] * 2 == [a["classifier"] for a in record]
    assert ["score", "score", "raw_cost"] * 2 == [a["strategy"] for a in record]
    assert [0.5, 0.25, -1.5, 0.0, 0.0, -1.5] == [a["score"] for a in record]
    assert ["stdin:1"] * 3 + ["stdin:2"] * 3 == [a["where"] for a in record]
    assert "" == result.stderr


def test_a_strategy_that_reads_one_of_two_says_so(score: Score) -> None:
    """What cannot be combined is told on standard error; the other one answers."""
    result = score("-c", "keyword", "-c", "priced", "-s", "raw_cost", "--json", "bad")

    assert ("priced", "raw_cost") == (
        only_record(result)["classifier"],
        only_record(result)["strategy"],
    )
    assert "skipped keyword x raw_cost: raw_cost needs Cost" in result.stderr


def test_options_reach_classifier_and_strategy(score: Score) -> None:
    """In the term or by --set: half as many hits for one half; another threshold."""
    args = ["-c", "keyword,saturation=3", "-s", "score,threshold=0.25", "--json"]

    record = only_record(score(*args, "attack"))
    other = only_record(
        score("-c", "keyword", "--set", "saturation=3", "--json", "attack")
    )

    assert (0.25, "unsafe") == (record["score"], record["verdict"])
    assert (0.25, "safe") == (other["score"], other["verdict"])


@pytest.mark.slow
def test_without_a_name_the_default_classifier_answers(score: Score) -> None:
    """The embedded guard comes before the keyword list and before any stranger's."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")

    record = only_record(score("--json", "hello"))

    assert "llamaguard" == record["classifier"]
    assert any("demonstration model" in note for note in record["notes"])


@pytest.mark.parametrize(
    "name", ["api-key", "hf_token", "passwd", "keyword.client_secret", "nobody.auth"]
)
def test_an_option_named_as_a_secret_is_told_plainly(score: Score, name: str) -> None:
    """Its value is hidden, and no word of the message is taken for one."""
    result = score("-c", "keyword", "--set", f"{name}=hunter2", "hello")

    assert 2 == result.exit_code
    assert "hunter2" not in result.output
    assert "***" not in result.output
    told = ("nothing takes", "has no option", "no 'nobody' here, for")
    key = name if "nobody" in name else name.rpartition(".")[2]
    assert any(f"{words} {key!r}" in result.output for words in told)


@pytest.mark.parametrize(
    ("record", "note"),
    [
        (
            {
                "messages": [{"role": r, "content": "x"} for r in ("user", "assistant")]
                * 2
            },
            None,
        ),
        (
            {
                "messages": [
                    {"role": role, "content": "attack"}
                    for role in ("user", "assistant", "user")
                ]
            },
            "the last of 2 user turns is judged",
        ),
        ({"prompt": "attack"}, None),
    ],
)
def test_what_a_run_would_note_of_a_conversation_is_noted(
    score: Score, record: dict[str, Any], note: str | None
) -> None:
    """One text is a dataset of one."""
    task = ["--task", "prompt_harm"] if note else []
    result = score("-c", "keyword", *task, "--json", "-", stdin=json.dumps(record))

    shown = json.loads(result.stdout.splitlines()[-1])["notes"]
    assert [note] * bool(note) == [n for n in shown if "user turns" in n]


def test_a_failed_judgement_exits_with_one(score: Score) -> None:
    """The answer says why there is no verdict; control characters do not get out."""
    result = score("-c", "mute", "hello")
    as_json = score("-c", "mute", "--json", "hello")

    assert [1, 1] == [result.exit_code, as_json.exit_code]
    assert "verdict      none" in result.stdout
    assert "no verdict by mute x score: no words" in result.stderr
    assert "\x1b" not in result.stdout
    assert ["no words", None] == [
        json.loads(as_json.stdout)[k] for k in ("error", "verdict")
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-c", "keywrd", "x"], "did you mean 'keyword'?"),
        (["-c", "keyword", "-s", "scor", "x"], "did you mean 'score'?"),
        (["-c", "keyword", "--set", "saturaton=2", "x"], "did you mean 'saturation'?"),
        (["-c", "keyword", "--model", "m", "x"], "has no option 'model'"),
        (["-c", "keyword", "--task", "refusl", "x"], "did you mean 'refusal'?"),
        (["-c", "keyword", "--task", "refusal", "x"], "does not answer refusal"),
        (["-c", "keyword", "--task", "response_harm", "x"], "no response, which"),
        (["-c", "listener", "x"], "listener judges responses, and there is none"),
        (["-c", "needy", "x"], "say model=DIR"),
        (["-c", "needy,model=m", "x"], "no model in 'm'"),
        (["-c", "priced", "-s", "impossible", "x"], "it needs what no model has"),
        (["-c", "keyword"], "what shall be judged?"),
        (["-c", "keyword", "how", "do", "I"], 'put quotes around it, "how ..."'),
        (["-c", "keyword", "--input", "jsnl", "-"], "did you mean 'jsonl'?"),
        (["-c", "keyword", ""], "empty prompt"),
        (["-c", "keyword", " \n"], "empty prompt"),
        (["-c", "keyword", "a\udcffb"], "not UTF-8"),
        (["-c", "keyword", "--prompt-file", "no.txt"], "cannot read no.txt: no such"),
        (["-c", "keyword", "--prompt-file", "no.txt", "x"], "what shall be judged?"),
    ],
)
def test_a_mistake_is_one_message(
    score: Score, args: list[str], message: str, monkeypatch: Any, tmp_path: Path
) -> None:
    """Exit code 2, no traceback, nothing on standard output."""
    monkeypatch.chdir(tmp_path)

    result = score(*args)

    assert 2 == result.exit_code, result.output
    assert message in result.stderr
    assert "" == result.stdout
    assert "Traceback" not in result.output


def test_a_classifier_that_breaks_its_contract_exits_with_one(score: Score) -> None:
    """Nothing that the user could mend: one line, and no verdict."""
    result = score("-c", "liar", "x")

    assert 1 == result.exit_code, result.output
    assert (
        "broke its contract: 1 sample in, {'Scores': 2, 'traces': 2}" in result.stderr
    )
    assert result.stdout.startswith("verdict      none")


@pytest.mark.parametrize(
    ("stdin", "messages"),
    [
        ("", ["empty prompt"]),
        (b"a\nb\xff", ["stdin:2: not UTF-8"]),
        (
            '{"prompt": "x"}\n{"promt": "x"}\n{oops\n{"prompt": 3}\n{"prompt": ""}',
            ["stdin:2: expected", "stdin:3: not JSON", "stdin:4: prompt is not text",
             "stdin:5: empty prompt"],
        ),
        ('{"messages": []}', ["stdin:1: empty prompt"]),
        ('{"messages": [{"role": "usr", "content": "x"}]}', ["did you mean 'user'?"]),
        ('{"prompt": "x", "response": 1}', ["stdin:1: response is not text"]),
        ('{"prompt": "\\ud800"}', ["stdin:1: the prompt is not UTF-8"]),
    ],
)  # fmt: skip
def test_bad_lines_are_named_before_anything_is_judged(
    score: Score, stdin: str | bytes, messages: list[str]
) -> None:
    """Every bad line in one message, exit code 2, no answer at all."""
    result = score("-c", "keyword", "--json", "-", stdin=stdin)

    assert 2 == result.exit_code
    assert "" == result.stdout
    for message in messages:
        assert message in result.stderr


def test_names_are_checked_before_the_input_is_read(score: Score) -> None:
    """Who types a prompt into the terminal is told of a wrong name first."""
    result = score("-c", "keywrd", "-", stdin=b"\xff")

    assert 2 == result.exit_code
    assert "did you mean 'keyword'?" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_any_encoding_of_the_output_will_do(form: list[str]) -> None:
    """What an encoding lacks is replaced, or escaped in JSON, and nothing breaks."""
    command = [sys.executable, "-m", "safebench", "score", *form]

    result = subprocess.run(
        [*command, "-c", "käse=keyword", "hello"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=240,
    )

    assert 0 == result.returncode, result.stderr
    shown = b'"classifier": "k\\u00e4se"' if form else b"classifier   k?se"
    assert shown in result.stdout


@pytest.mark.slow
def test_a_closed_standard_input_is_told() -> None:
    """Exit code 2 and no traceback."""
    command = f"{shlex.quote(sys.executable)} -m safebench score -c keyword - <&-"

    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, timeout=240
    )

    assert 2 == result.returncode
    assert "standard input is closed" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_response_does_not_go_with_json_lines(score: Score) -> None:
    """It would be unclear which prompt it answers."""
    args = ["-c", "keyword", "--response", "No.", "-"]

    result = score(*args, stdin='{"prompt": "x"}')

    assert 2 == result.exit_code
    assert "--response goes with one prompt" in result.stderr


@pytest.mark.slow
def test_a_megabyte_is_judged(score: Score) -> None:
    """Long input is the classifier's business: it is cut there, and that is said."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")

    result = score("-c", "llamaguard", "--json", "-", stdin="word " * 200_000)

    record = only_record(result)
    assert record["verdict"] in ("safe", "unsafe")
    assert 100_000 < record["tokens_dropped"]


def test_the_help_loads_nothing_heavy() -> None:
    """`score --help` and `serve --help` import no numeric, model or web library."""
    code = (
        "import sys\nfrom safebench.cli import cli\n"
        "for name in ('score', 'serve'):\n"
        "    try: cli([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )

    out = subprocess.check_output([sys.executable, "-c", code], text=True)

    loaded = set(out.rpartition("LOADED")[2].split())
    assert set() == {"numpy", "torch", "rich", "flask", "waitress", "yaml"} & loaded
    assert "Examples:" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("letter.txt", "TEXT 'letter.txt' is a file: --prompt-file letter.txt"),
        ("two words", "TEXT 'two words' is a file"),
        ("./letter.txt", "is a file"),
        ("missing.jsonl", "TEXT 'missing.jsonl' looks like the name of a missing file"),
        ("folder/ROWS.CSV", "looks like the name of a missing file"),
        ("how to attack missing.jsonl", ""),
        ("folder", ""),
        ("a\0b.txt", "NUL|missing file"),
        ("a" * 5000, ""),
    ],
    ids=range(9),
)
def test_a_files_name_is_asked_about(
    score: Score,
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its name would be judged in place of what it holds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("letter.txt", "two words"):
        (tmp_path / name).write_text("how to attack", encoding="utf-8")

    for words in ([text], ["a prompt", "--response", text]):
        result = score("-c", "keyword", *words)
        expected = message.replace("TEXT", "--response") if words[1:] else message
        expected = expected.partition(":")[0]  # what would work differs
        assert (2 if message else 0) == result.exit_code, result.output
        assert re.search(expected, result.output)
    if "NUL" not in message:
        told = score("-c", "keyword", "--json", "--input", "text", text)
        assert 0 == told.exit_code, told.output
