"""Several tasks from one pass: what the guard is shown, what it costs, what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from click.testing import Result

pytestmark = pytest.mark.slow

pytest.importorskip("safebench_llamaguard_marginal", reason="its strategies read trees")

GUARD = Path(__file__).parents[1] / "distributions" / "several_tasks"
TASKS = {"prompt_harm": "harm", "refusal": "refused", "response_harm": "bad"}
SETS = {t: f"talks.jsonl,task={t},label={label}" for t, label in TASKS.items()}
# each prompt with three responses, and one row that is there twice
TALKS = [
    {
        "prompt": f"question {'?' * (i % 7)}{i}",
        "response": f"answer {'.' * j}{j}",
        "harm": int(i % 3 == 0),
        "refused": int(j == 1),
        "bad": int(i % 3 == 0 and j != 1),
    }
    for i, j in product(range(12), range(3))
]
TALKS.append(TALKS[0])
# distinct: 12 prompts, 36 exchanges
PASSES = {
    "exchange": {"prompt_harm": 36, "refusal": 0, "response_harm": 0},
    "turn": {"prompt_harm": 12, "refusal": 36, "response_harm": 0},
    "task": {"prompt_harm": 36, "refusal": 36, "response_harm": 36},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run beside a file of talks, with the guard of several tasks installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(GUARD))
    write(tmp_path / "talks.jsonl", TALKS)
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[Any]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(answers: str, *tasks: str, out: str = "run", more: tuple[str, ...] = ()) -> Any:
    """Run the guard on the sets of some tasks."""
    data = [word for task in tasks for word in ("-d", SETS.get(task, task))]
    words = ["run", "-c", f"g=several,answers={answers}", *data, "--out", out, *more]
    installed = entry_points(group=ENTRY_POINT_GROUP)
    guard = EntryPoint("several_tasks", "several_tasks.plugin", ENTRY_POINT_GROUP)
    plugins = Plugins([*installed, guard])
    fixed = ["--calibration-fraction", "0"]
    result: Result = CliRunner().invoke(cli, [*words, *fixed], obj=plugins)
    return result


def scores(out: str = "run") -> dict[str, dict[str, float]]:
    """Return the scores by task and id."""
    stored: dict[str, dict[str, float]] = {}
    for path in Path(out).glob("predictions/*/*/*.jsonl"):
        for line in read(path):
            stored.setdefault(line["task"], {})[line["id"]] = line["score"]
    return stored


def prediction_bytes(out: str = "run") -> dict[str, bytes]:
    """Return the bytes of all predictions."""
    paths = sorted(Path(out).glob("predictions/**/*.jsonl"))
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def costs(out: str = "run") -> dict[str, tuple[float, str | None]]:
    """Return the forward passes of each task's rows, and who else pays."""
    rows = read(Path(out) / "results.jsonl")
    return {r["task"]: (r["forward_passes"], r["cost_shared_with"]) for r in rows}


def expected(answers: str, task: str, row: dict[str, Any]) -> float:
    """Return P(yes) of a task's line, summed over all that may stand before it."""
    shown = [row["prompt"], row["response"]]
    if task == "prompt_harm" and answers != "exchange":
        shown.pop()
    lines = {"exchange": [*TASKS], "task": [task]}.get(answers, ["prompt_harm"])
    if answers == "turn" and task != "prompt_harm":
        lines = ["refusal", "response_harm"]
    seed = sum(map(len, shown)) % 7
    total = 0.0
    for words in product((1, 0), repeat=len(lines)):
        p = 1.0
        for n, (line, word) in enumerate(zip(lines, words, strict=True)):
            yes = (seed + 1 + 2 * [*TASKS].index(line) + 3 * sum(words[:n])) / 20
            p *= yes if word else 1 - yes
        total += p * words[lines.index(task)]
    return total


@pytest.mark.parametrize("answers", PASSES)
def test_one_pass_a_conversation_counted_once(answers: str) -> None:
    """Three sets: every number by the law of total probability, each pass paid once."""
    result = run(answers, *TASKS)

    assert 0 == result.exit_code, result.output
    asked = read(Path("asked.jsonl"))
    assert sum(PASSES[answers].values()) == len(asked)
    assert len(asked) == len({json.dumps(line) for line in asked})
    for task, by_id in scores().items():
        values = [expected(answers, task, row) for row in TALKS]
        assert values == pytest.approx([*by_id.values()], abs=1e-9), task
    assert PASSES[answers] == {task: passes for task, (passes, _) in costs().items()}


@pytest.mark.parametrize(("answers", "task"), [*product(PASSES, TASKS)])
def test_apart_or_together_says_the_same(answers: str, task: str) -> None:
    """A run of one task writes the bytes that the run of all three writes for it."""
    assert 0 == run(answers, *TASKS, out="all").exit_code
    assert 0 == run(answers, task, out="one").exit_code
    name = f"predictions/g/talks.jsonl.{task}.all"
    together = {k: v for k, v in prediction_bytes("all").items() if name in k}
    alone = list(prediction_bytes("one").values())

    assert 1 == len(together) == len(alone)
    fields = [
        [json.loads(line) | {"config": None} for line in text.splitlines()]
        for text in (*together.values(), *alone)
    ]
    assert fields[0] == fields[1]


def test_who_pays_is_named() -> None:
    """In the row, in the log, and the same when the run is repeated."""
    first = run("exchange", *TASKS)
    by_task = costs()
    again = run("exchange", *TASKS)

    owner = "talks.jsonl:prompt_harm:all (37)"
    assert (36, None) == by_task["prompt_harm"]
    assert (0, owner) == by_task["refusal"] == by_task["response_harm"]
    shared = f"uses stored evidence of 37 samples, shared with {owner}"
    assert 2 == first.output.count(shared)
    assert by_task == costs()
    assert 36 == len(read(Path("asked.jsonl")))
    assert 0 == again.exit_code
    words = ["leaderboard", "run", "--metrics", "auroc,forward_passes"]
    table = CliRunner().invoke(cli, words, obj=Plugins()).output
    note = f"the cost is counted on {owner}"
    assert 2 == " ".join(table.split()).count(note)
    assert note not in CliRunner().invoke(cli, words[:2], obj=Plugins()).output


@pytest.mark.parametrize("whole", [True, False])
def test_a_task_that_joins_later_costs_nothing(whole: bool) -> None:
    """Named beside the first, or alone; what was stored of the first stays."""
    assert 0 == run("exchange", "prompt_harm").exit_code
    before, asked = prediction_bytes(), read(Path("asked.jsonl"))

    joined = run("exchange", *(["prompt_harm"] if whole else []), "refusal")

    assert 0 == joined.exit_code, joined.output
    assert "talks.jsonl:refusal:all joins the run in run" in joined.output
    assert asked == read(Path("asked.jsonl"))
    assert before.items() < prediction_bytes().items()
    assert (36, None) == costs()["prompt_harm"]
    assert (0, "talks.jsonl:all (37)") == costs()["refusal"]
    manifest = json.loads(Path("run/manifest.json").read_text())
    known = ["talks.jsonl:all", "talks.jsonl:refusal:all"]
    assert known == manifest["identity"]["datasets"] == sorted(manifest["data"])


def test_one_task_of_several_can_be_run_again_alone() -> None:
    """It keeps the name that it has in the folder, and so its rows."""
    assert 0 == run("exchange", *TASKS).exit_code
    before = prediction_bytes()

    again = run("exchange", "refusal")

    assert 0 == again.exit_code, again.output
    assert "joins" not in again.output
    assert before == prediction_bytes()


def test_what_is_new_is_recorded_and_paid_by_the_set_that_brings_it() -> None:
    """Two sets that overlap in six conversations of ten."""
    talks = [row | {"response": row["response"] + "!"} for row in TALKS[:4]]
    write(Path("others.jsonl"), [*TALKS[3:9], *talks])
    assert 0 == run("exchange", "prompt_harm").exit_code

    assert 0 == run("exchange", "others.jsonl,task=refusal,label=refused").exit_code

    assert 36 + 4 == len(read(Path("asked.jsonl")))
    assert (4, "talks.jsonl:all (6)") == costs()["refusal"]


@pytest.mark.parametrize(
    ("end_at", "end_by", "code"),
    [(2, "kill", -signal.SIGKILL), (4, "kill", -signal.SIGKILL), (4, "exit", 1)],
)
def test_a_run_that_is_ended_goes_on_as_if_it_had_not_been(
    place: Path, end_at: int, end_by: str, code: int
) -> None:
    """Killed in the second set of three, before its first shard and after.

    A guard that calls `os._exit` is a plugin that failed: the process and the third set
    go on, and who records a conversation pays for it.
    """
    assert 0 == run("turn", *TASKS, out="calm").exit_code
    Path("asked.jsonl").unlink()
    script = (
        "import sys; from importlib.metadata import EntryPoint, entry_points;"
        "from safebench.cli import cli; from safebench.plugins import Plugins;"
        "extra = EntryPoint('several_tasks', 'several_tasks.plugin', 'safebench');"
        "cli(obj=Plugins([*entry_points(group='safebench'), extra]))"
    )
    # the option that ends the process is none of the evidence
    guard = f"g=several,answers=turn,end_at={end_at},end_by={end_by}"
    words = ["run", "-c", guard, "--out", "run", "--calibration-fraction", "0"]
    for data in SETS.values():
        words += ["-d", data]
    ended = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=os.environ | {"PYTHONPATH": str(GUARD), "OMP_NUM_THREADS": "1"},
        cwd=place,
        check=False,
        capture_output=True,
        timeout=240,
    )
    assert code == ended.returncode, ended.stderr
    if end_by == "exit":
        assert b"SystemExit: called os._exit(9)" in ended.stderr
        assert b"Traceback" not in ended.stderr

    resumed = run("turn", *TASKS)

    assert 0 == resumed.exit_code, resumed.output
    assert prediction_bytes("calm") == prediction_bytes()
    if end_by == "kill":
        assert costs("calm") == costs()
    assert 12 + 36 == sum(passes for passes, _ in costs().values())
    asked = read(Path("asked.jsonl"))
    assert 12 + 36 == len(asked) == len({json.dumps(line) for line in asked})


def test_a_task_that_the_verdict_leaves_out_is_no_negative_answer() -> None:
    """N/A with P = 0.95: the sample fails, and its prompt is judged all the same."""
    talks = [*TALKS[:5], TALKS[5] | {"response": "silence"}]
    write(Path("talks.jsonl"), talks)

    result = run("exchange", *TASKS)

    assert 1 == result.exit_code  # more failures than one in twenty
    for path in Path("run").glob("predictions/*/*/*.jsonl"):
        *others, last = read(path)
        assert not any(line["error"] for line in others)
        if last["task"] == "prompt_harm":
            assert 1 / 20 == pytest.approx(last["score"])
            continue
        assert last["score"] is None
        assert (
            f"the verdict does not answer {last['task']}, it wrote "
            "'Harmful request: no\\nResponse refusal: N/A\\nHarmful response: N/A': "
            "P(an answer) is at most 0.05, and verdict_floor=0.5"
        ) == last["error"]


@pytest.mark.parametrize("answers", PASSES)
def test_a_single_conversation_is_judged_as_in_a_run(answers: str) -> None:
    """By each task: the guard of an exchange is shown its response, others are not."""
    talk = TALKS[4]
    installed = entry_points(group=ENTRY_POINT_GROUP)
    guard = EntryPoint("several_tasks", "several_tasks.plugin", ENTRY_POINT_GROUP)
    for task in TASKS:
        words = ["score", "-c", f"several,answers={answers}", "--task", task, "--json"]
        words += [str(talk["prompt"]), "--response", str(talk["response"])]
        result = CliRunner().invoke(cli, words, obj=Plugins([*installed, guard]))

        assert 0 == result.exit_code, result.output
        judged = json.loads(result.stdout.splitlines()[-1])
        assert expected(answers, task, talk) == pytest.approx(judged["score"])


@pytest.mark.parametrize(
    ("answers", "noted"), [("exchange", True), ("turn", False), ("task", False)]
)
def test_prompts_that_are_judged_beside_responses_are_noted(
    answers: str, noted: bool
) -> None:
    """By `run` below its table, and by `score`, which shows what a run would note."""
    run(answers, "prompt_harm", "refusal")
    notes = {(row["task"], row["note"]) for row in read(Path("run/results.jsonl"))}
    row = read(Path("talks.jsonl"))[0]
    guard = EntryPoint("several_tasks", "several_tasks.plugin", ENTRY_POINT_GROUP)
    words = ["score", "-c", f"several,answers={answers}", "--task", "prompt_harm"]
    scored = CliRunner().invoke(
        cli,
        [*words, "--json", "--response", row["response"], row["prompt"]],
        obj=Plugins([*entry_points(group=ENTRY_POINT_GROUP), guard]),
    )

    beside = "judged beside"
    assert ({"prompt_harm"} if noted else set()) == {
        task for task, note in notes if beside in note
    }
    shown = json.loads(scored.stdout.splitlines()[-1])["notes"]
    assert noted == any(f"the prompt was {beside} its response" in n for n in shown)


def test_sets_that_disagree_are_named() -> None:
    """Evidence is one, labels are each set's own: two of six rows differ."""
    rows = [row | {"harm": 1} for row in TALKS[:6]]  # of the first prompt's three: 1
    write(Path("others.jsonl"), rows)

    result = run("turn", "prompt_harm", "others.jsonl,task=prompt_harm,label=harm")

    note = (
        "3 conversations have other labels in others.jsonl:all than in "
        "talks.jsonl:all (prompt_harm): each dataset is measured by its own"
    )
    assert note in " ".join(result.output.split())
    assert 12 == len(read(Path("asked.jsonl")))


def test_another_file_in_the_same_folder_of_a_set_is_refused_still() -> None:
    """Datasets may join; one that is there may not become another one."""
    assert 0 == run("turn", "refusal").exit_code
    write(Path("talks.jsonl"), TALKS[5:])

    refused = run("turn", "refusal")

    assert 2 == refused.exit_code
    assert "holds results of other data" in refused.output
