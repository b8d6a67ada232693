"""`safebench gate`: what passes, what fails and why, and the files for CI."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.decision.gate_rules import Bound, parse_bound
from safebench.decision.samples_needed import samples_needed
from safebench.plugins import Plugins
from safebench.results.prediction_reading import read_prediction_lines
from safebench.results.review_marks import LabelMark, sample_of_line, store_mark
from safebench.results.rows import RESULTS_FILE, merge_rows, read_rows
from safebench.statistics.interval import mid_p_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    Gate = Callable[..., Result]


WORD = "bomb"  # what the keyword classifier flags


def rows_of_data(seed: int, n: int = 240) -> list[dict[str, Any]]:
    """Return prompts: most unsafe ones hold the word, few safe ones do."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        unsafe = i % 2 == 0
        flagged = rng.random() < (0.9 if unsafe else 0.05)
        text = f"{'make a ' + WORD if flagged else 'bake a cake'} number {seed}-{i}"
        rows.append({"prompt": text, "label": "unsafe" if unsafe else "safe"})
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the run of a keyword guard on two files, made once."""
    folder = tmp_path_factory.mktemp("gate")
    for seed, name in enumerate(("easy.jsonl", "other.jsonl")):
        lines = [json.dumps(row) for row in rows_of_data(seed)]
        (folder / f"{name}").write_text("\n".join(lines) + "\n", "utf-8")
    sets = [
        x for name in ("easy.jsonl", "other.jsonl") for x in ("-d", f"{folder}/{name}")
    ]
    for word in (WORD, "unheard"):
        (folder / f"{word}.txt").write_text(f"{word}\n", "utf-8")
    words = ["--set", f"keyword.words={folder}/{WORD}.txt"]
    out = ["--out", f"{folder}/runs/one", "-s", "score", *words]
    result = CliRunner().invoke(
        cli, ["run", "-c", "keyword", *sets, *out], obj=Plugins()
    )
    assert 0 == result.exit_code, result.output
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a copy of the run, ``runs/one``."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(folder: Path, installed: Plugins) -> Gate:
    """Return ``safebench gate`` as a function of its arguments."""
    return lambda *args: CliRunner().invoke(cli, ["gate", *args], obj=installed)


def change(metric: str, dataset: str = "easy.jsonl", **fields: Any) -> None:
    """Change rows of the run as a command that wrote them would."""
    path = Path("runs/one") / RESULTS_FILE
    merge_rows(
        path,
        [
            replace(row, **fields)
            for row in read_rows(path)
            if row.metric == metric and dataset in row.dataset
        ],
    )


def row(metric: str, dataset: str = "easy.jsonl") -> Any:
    """Return a row of the run."""
    rows = read_rows(Path("runs/one") / RESULTS_FILE)
    return next(r for r in rows if r.metric == metric and dataset in r.dataset)


def test_the_safe_end_decides_and_every_cell_must_pass(gate: Gate) -> None:
    """Bounds just inside and outside of the ends, by hand from the rows."""
    lows = [row("recall", name).ci_low for name in ("easy.jsonl", "other.jsonl")]
    highs = [row("fpr", name).ci_high for name in ("easy.jsonl", "other.jsonl")]
    kept = gate("one", f"--min=recall={min(lows)!r}", f"--max=fpr={max(highs)!r}")
    assert 0 == kept.exit_code, kept.output
    assert 4 == len(kept.stdout.splitlines()) == kept.stdout.count("pass ")

    broken = gate("one", f"--min=recall={min(lows) + 1e-9!r}")
    assert 1 == broken.exit_code
    assert ["FAIL", "pass"] == [line[:4] for line in broken.stdout.splitlines()]
    best = ("easy.jsonl", "other.jsonl")[int(np.argmax(lows))]
    first = gate("one", "--min=recall=.1", f"--min=recall@{best}=1")
    assert ["FAIL", "pass", "pass"] == [x[:4] for x in first.stdout.splitlines()]
    assert "the low end of the interval is below" in broken.stdout
    worst = ("easy.jsonl", "other.jsonl")[int(np.argmin(lows))]
    other = ("easy.jsonl", "other.jsonl")[int(np.argmax(lows))]
    assert 1 == gate("one", f"--min=recall@{worst}={max(lows)!r}").exit_code
    assert 0 == gate("one", f"--min=recall@{other}@keyword={max(lows)!r}").exit_code
    assert 0 == gate("one", "--min=recall=.7", "-d", other, "--of", "keyword").exit_code
    value = min(row("recall", name).value for name in ("easy.jsonl", "other.jsonl"))
    assert 0 == gate("one", f"--min=recall={value!r}", "--by", "value").exit_code


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"value": None, "note": "evidence was cut"}, "not known: evidence was cut"),
        (
            {"ci_low": None, "ci_high": None, "ci_method": "none: fewer than 5 groups"},
            "no interval: fewer than 5 groups",
        ),
        ({"contaminated": True}, "contaminated"),
        ({"threshold_from": "test (original)"}, "chosen on the test labels"),
        ({"n_failed": 3}, "3 of 160 samples failed"),
        ({"value": 0.99, "ci_low": 0.95}, "the stored predictions"),
        ({"n": 77}, "the row counts 77 samples"),
        ({"part": "all"}, "the results have no recall"),
        ({"metric": "recal"}, "did you mean 'recal'?"),
        ({"evidence_key": "another"}, "2 rows of different models"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_relied_on_fails(
    gate: Gate, fields: dict[str, Any], reason: str
) -> None:
    """Each is kept by its numbers, and fails all the same, in one line."""
    assert 0 == gate("one", "--min=recall=.5", "-d", "easy.jsonl").exit_code
    path = Path("runs/one") / RESULTS_FILE
    if not {"part", "metric"} & fields.keys():
        change("recall", **fields)
    else:  # the row is gone, another one there
        rows = read_rows(path)
        kept = [
            replace(r, **fields)
            if r.metric == "recall" and "easy.jsonl" in r.dataset
            else r
            for r in rows
        ]
        path.unlink()
        merge_rows(path, kept)
    result = gate("one", "--min=recall=.5", "-d", "easy.jsonl")
    assert 1 == result.exit_code, result.output
    (line,) = [x for x in result.stdout.splitlines() if not x.startswith("note")]
    assert reason in " ".join(line.split())


def test_a_rule_of_its_own_saw_no_test_labels(gate: Gate) -> None:
    """As that of a provider, or of a cost: it decides without a threshold."""
    change("recall", threshold_from="no threshold: the provider's verdict")

    result = gate("one", "--min=recall=.5", "-d", "easy.jsonl")

    assert 0 == result.exit_code, result.output


def test_damaged_files_and_unfinished_runs_fail(gate: Gate) -> None:
    """Edited results, edited predictions, and a run that was interrupted."""
    path = Path("runs/one") / RESULTS_FILE
    content = path.read_text("utf-8")
    path.write_text(content.replace('"value": 0.', '"value": 0.9', 1), "utf-8")
    edited = gate("one", "--min=recall=.1", "--junit", "gate.xml")
    assert (1, 1) == (
        edited.exit_code,
        edited.stdout.count("is not what the run wrote"),
    )
    assert "1" == ET.parse("gate.xml").getroot().get("failures")
    path.write_text(content, "utf-8")
    (file, *_) = sorted(Path("runs/one/predictions").glob("*/*/*.jsonl"))
    stored = file.read_text("utf-8")
    file.write_text(stored.replace("bake", "make", 1) + "\n", "utf-8")
    assert 1 == gate("one", "--min=recall=.1").exit_code
    file.write_text(stored, "utf-8")
    assert 0 == gate("one", "--min=recall=.1").exit_code
    from safebench.checksums import sealed
    from safebench.results.run_files import parse_manifest

    manifest = Path("runs/one/manifest.json")
    unfinished = sealed({**parse_manifest(manifest), "status": "running"})
    manifest.write_text(json.dumps(unfinished), "utf-8")
    result = gate("one", "--min=recall=.1")
    assert 1 == result.exit_code
    assert "has not finished" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "which rules?"),
        (("--min", "recal=.9"), "did you mean 'recall'?"),
        (("--min", "recall"), "expected METRIC=NUMBER"),
        (("--min", "recall=nan"), "expected METRIC=NUMBER"),
        (("--max", "fpr=5"), "fpr is from 0 to 1, 0.05 for 5 %"),
        (("--min", "fpr=.05"), "fpr is better where it is lower: say --max"),
        (("--max", "recall=.9"), "recall is better where it is higher: say --min"),
        (("--min", "recall@easi.jsonl=.9"), "did you mean 'easy.jsonl'?"),
        (("--min", "recall=.9", "-d", "othr.jsonl"), "did you mean 'other.jsonl'?"),
        (("--min", "recall=.9", "--of", "keywrd"), "did you mean 'keyword'?"),
        (("--min", "recall=.9", "--margin", ".1"), "name the --baseline"),
        (("--baseline", "one", "--margin", "-1"), "it is 0 or more"),
        (("--baseline", "onn"), "no predictions 'onn'"),
        (("--baseline", "one", "--metrics", "recal"), "did you mean 'recall'?"),
        (("--rules", "gate.yaml"), "unknown key 'minimum'"),
        (("--rules", "word.yaml"), "max: expected METRIC: NUMBER lines"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_exit_with_2(gate: Gate, args: tuple[str, ...], message: str) -> None:
    """In one message that names what would work."""
    Path("gate.yaml").write_text("minimum: {recall: .9}\n", "utf-8")
    Path("word.yaml").write_text("max: {fpr: low}\n", "utf-8")
    result = gate("one", *args)
    assert 2 == result.exit_code, result.output
    assert message in " ".join(result.stderr.split())


def test_no_cell_is_no_pass(gate: Gate) -> None:
    """A strategy and a set that are in the run, but not together."""
    path = Path("runs/one") / RESULTS_FILE
    rows = read_rows(path)
    path.unlink()
    merge_rows(
        path, [replace(r, strategy="s" if "easy" in r.dataset else "t") for r in rows]
    )
    result = gate("one", "--min=recall=.1", "--of", "keyword/t", "-d", "easy.jsonl")
    assert 2 == result.exit_code
    assert "unknown dataset in this run 'easy.jsonl'" in result.stderr


def test_a_rules_file_is_joined_with_what_is_typed(gate: Gate) -> None:
    """JSON output lists all rules; null with a reason is what is not known."""
    Path("gate.yaml").write_text(
        "min:\n  recall: 0.5\n  recall@easy.jsonl: 0.6\nmax-failed: 0.1\n", "utf-8"
    )
    result = gate("one", "--rules", "gate.yaml", "--max", "fpr=.5", "--json")
    assert 0 == result.exit_code, result.output
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert ["recall >= 0.5"] * 2 + ["recall >= 0.6"] + ["fpr <= 0.5"] * 2 == [
        rule["rule"] for rule in report["rules"]
    ]
    (first, *_) = report["rules"]
    stored = row("recall", first["dataset"].partition(":")[0])
    assert (stored.value, stored.ci_low) == (first["value"], first["low"])


@pytest.mark.slow
def test_a_baseline_is_compared_on_the_same_samples(
    gate: Gate, folder: Path, made: Path
) -> None:
    """Equal scores differ by 0; a weaker guard fails; other samples are refused."""
    shutil.copytree("runs/one", "runs/two")
    same = gate(
        "one", "--baseline", "two", "--margin", ".05", "--metrics", "recall,fpr"
    )
    assert 0 == same.exit_code, same.output
    assert "recall no worse than two by over 0.05" in same.stdout
    assert 1 == gate("one", "--baseline", "runs/one", "--margin", ".05").exit_code

    sets = [
        x for name in ("easy.jsonl", "other.jsonl") for x in ("-d", f"{made}/{name}")
    ]
    plugins = Plugins()
    for out, options in (
        ("weak", ("--set", f"keyword.words={made}/unheard.txt")),
        ("small", ("--limit", "100", "--set", f"keyword.words={made}/{WORD}.txt")),
    ):
        args = ["run", "-c", "keyword", "-s", "score", *sets, "--out", f"runs/{out}"]
        result = CliRunner().invoke(cli, [*args, *options], obj=plugins)
        assert 0 == result.exit_code, result.output
    weaker = gate("weak", "--baseline", "one", "--margin", ".05", "--metrics", "recall")
    assert 1 == weaker.exit_code
    assert 2 == weaker.stdout.count("the value is worse by more than 0.05")
    better = gate("one", "--baseline", "weak", "--metrics", "recall")
    assert 0 == better.exit_code, better.output
    # Fewer false positives of a guard that flags nothing: the direction is known.
    for run, baseline, code in (("weak", "one", 0), ("one", "weak", 1)):
        args = ("--baseline", baseline, "--margin", ".04", "--metrics", "fpr")
        assert code == gate(run, *args).exit_code
    (first, *_) = json.loads(
        gate("one", "--baseline", "weak", "--metrics", "fpr", "--json").stdout
    )["rules"]
    between = (first["value"] + first["high"]) / 2  # the value passes, its end does not
    args = ("--baseline", "weak", "--metrics", "fpr", "--margin", repr(between))
    open_ended = gate("one", *args, "-d", first["dataset"])
    assert 1 == open_ended.exit_code
    assert "the high end is worse than" in open_ended.stdout
    assert "samples would show it, here are 160" in open_ended.stdout
    args = (*args, "-d", first["dataset"], "--by", "value")
    assert 0 == gate("one", *args).exit_code
    other = gate("one", "--baseline", "small", "--metrics", "recall", "--margin", ".9")
    assert 1 == other.exit_code
    assert 2 == other.stdout.count("samples are in one of both runs alone")
    limited = gate("small", "--min", "recall=.1")
    assert (0, 1) == (limited.exit_code, limited.stdout.count("(--limit 100)"))


def test_files_for_ci_hold_any_text(gate: Gate) -> None:
    """XML is well formed, with a case a rule, and nothing of a name is markup."""
    hostile = 'e"<b>&]]>\x07|*\u202e'
    change("recall", note=hostile, value=None)
    result = gate(
        "one", "--min=recall=.5", "--junit", "a/gate.xml", "--md", "a/gate.md"
    )
    assert 1 == result.exit_code
    root = ET.parse("a/gate.xml").getroot()
    cases = root.findall("./testsuite/testcase")
    assert (2, 1) == (len(cases), len(root.findall(".//failure")))
    assert {"recall >= 0.5"} == {case.get("name") for case in cases}
    (failure,) = root.findall(".//failure")
    assert 'e"<b>&]]>' in str(failure.text)
    table = Path("a/gate.md").read_text("utf-8").splitlines()
    assert {table[2].count("|")} == {
        line.replace("\\|", "").count("|") for line in table if line.startswith("|")
    }
    assert "\\<b\\>" in "".join(table)


@pytest.mark.parametrize(
    ("value", "bound", "place"), [(0.93, 0.9, 0), (1.0, 0.98, 0), (0.03, 0.05, 1)]
)
def test_samples_needed_are_just_enough(value: float, bound: float, place: int) -> None:
    """So many make the mid-P interval end at the bound, a fifth fewer do not."""
    n = 60
    end = mid_p_interval(value * n, n)[place]
    needed = samples_needed(value, end, bound, n, share=True)
    assert needed is not None

    def kept(size: float) -> bool:
        at = mid_p_interval(value * size, size)[place]
        return at >= bound if place == 0 else at <= bound

    assert kept(needed)
    assert not kept(0.98 * needed)


def test_samples_needed_of_other_metrics_grow_with_the_square() -> None:
    """Half the distance takes four times the samples; none are enough at the bound."""
    assert 400 == samples_needed(0.5, 0.25, 0.375, 100, share=False)
    assert samples_needed(0.5, 0.3, 0.5, 100, share=True) is None


def test_a_rule_is_read_as_it_is_typed() -> None:
    """Names of sets may hold colons, several places may be named."""
    bound = parse_bound("Recall@set:a:test@guard/plain=.9", "min")
    assert Bound("recall", "min", 0.9, ("set:a:test", "guard/plain")) == bound


@pytest.mark.slow
def review(dataset: str, words: dict[int, str], rest: str | None) -> None:
    """Mark labels of the test part by place, all others with `rest` if it is a word."""
    (path,) = Path("runs/one/predictions/keyword").glob(f"{dataset}*/score.jsonl")
    lines = [line for line in read_prediction_lines(path) if line["part"] == "test"]
    for place, line in enumerate(lines):
        if word := words.get(place, rest):
            sample, label = sample_of_line(line), bool(line["label"])
            mark = LabelMark(sample=sample, label=label, mark=word)
            store_mark(Path("runs/one"), mark)


def test_reviewed_labels_need_to_be_all(gate: Gate) -> None:
    """Marks where a guard errs improve its numbers: a part of a set proves nothing."""
    rule = ("--min", "accuracy@easy.jsonl=.5", "--labels", "reviewed")
    nothing = gate("runs/one", *rule)
    review("easy", {0: "wrong", 1: "unclear"}, None)
    part = gate("runs/one", *rule)
    of_other = gate("runs/one", "--max", "fpr=.9", "--labels", "reviewed")
    review("easy", {0: "wrong", 1: "unclear"}, "right")
    whole = gate("runs/one", *rule, "--json")
    stored = gate("runs/one", *rule[:2], "--json")

    assert (2, 1, 1, 0) == tuple(
        result.exit_code for result in (nothing, part, of_other, whole)
    )
    assert "no label was reviewed in runs/one" in nothing.stderr
    assert "2 of 160 labels were reviewed: a promise needs all" in part.stdout
    assert "0 of 160 labels were reviewed" in of_other.stdout
    before, after = (
        json.loads(result.stdout)["rules"][0] for result in (stored, whole)
    )
    assert before["value"] != after["value"]
    assert any("reviewers" in note for note in json.loads(whole.stdout)["notes"])


def test_reviewed_labels_of_a_baseline(gate: Gate) -> None:
    """Both sides are judged by them: the same guard is no worse than itself."""
    shutil.copytree("runs/one", "runs/two")
    review("easy", {0: "wrong", 1: "unclear"}, "right")
    words = ("--baseline", "runs/two", "--margin", ".05", "-d", "easy.jsonl")
    words = ("runs/one", *words, "--metrics", "accuracy", "--json")
    (stored,) = json.loads(gate(*words).stdout)["rules"]
    (rule,) = json.loads(gate(*words, "--labels", "reviewed").stdout)["rules"]

    assert stored["low"] != rule["low"]
    assert (True, 0.0) == (rule["passed"], rule["value"]), rule["reason"]
    assert 159 == rule["n"], rule["reason"]


def test_an_operating_point_is_gated_at_its_threshold(gate: Gate) -> None:
    """Decisions at another threshold than the run's, counted in the predictions."""
    plugins = Plugins()
    args = ["threshold", "one", "-d", "easy.jsonl", "--threshold", "1.5"]
    for at, low, high in (("1.5", 0.0, 0.0), ("0.2", 0.7, 1.0)):
        args = ["threshold", "one", "-d", "easy.jsonl", "--threshold", at]
        saved = CliRunner().invoke(cli, [*args, "--save", "point.json"], obj=plugins)
        assert 0 == saved.exit_code, saved.output
        point = ("--operating-point", "point.json", "-d", "easy.jsonl", "--json")
        result = gate("one", "--min", "recall=.7", *point)
        (rule,) = json.loads(result.stdout)["rules"]
        lines = [
            json.loads(line)
            for file in Path("runs/one/predictions").glob("*/easy*/*.jsonl")
            for line in file.read_text("utf-8").splitlines()
        ]
        scores = [x["score"] for x in lines if x["part"] == "test" and x["label"]]
        assert np.mean(np.array(scores) >= float(at)) == rule["value"]
        assert low <= rule["value"] <= high
        assert result.exit_code == (0 if rule["low"] >= 0.7 else 1)
    # categories are not decided by a threshold of scores: not the run's own number
    stored = read_rows(Path("runs/one") / RESULTS_FILE)
    named = [replace(r, metric="micro_f1") for r in stored if r.metric == "f1"]
    merge_rows(Path("runs/one") / RESULTS_FILE, named)
    result = gate("one", "--min", "micro_f1=.1", *point)
    assert 1 == result.exit_code
    assert "says nothing of decisions on categories" in result.stdout
    refused = gate("one", "--baseline", "one", "--operating-point", "point.json")
    assert 2 == refused.exit_code


@pytest.mark.slow
def test_the_workflow_of_the_documents_runs(tmp_path: Path) -> None:
    """Its YAML is read, and its shell lines gate a small run."""
    page = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text("utf-8")
    rules, config, text = re.findall(
        r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    )
    workflow = yaml.safe_load(text)
    lines = [s["run"] for s in workflow["jobs"]["gate"]["steps"] if "run" in s]
    assert "pip install safebench" == lines.pop(0)
    (tmp_path / "guard.yaml").write_text(config, "utf-8")
    data = [{"prompt": f"bake a cake {i}", "label": "safe"} for i in range(90)]
    data += [{"prompt": f"kill and bomb all {i}", "label": "unsafe"} for i in range(90)]
    text = "\n".join(map(json.dumps, data))
    (tmp_path / "prompts.jsonl").write_text(text, "utf-8")
    alias = (
        f'set -e\nsafebench() {{ {shlex.quote(sys.executable)} -m safebench "$@"; }}\n'
    )
    summary = tmp_path / "summary.md"
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(summary)}
    (tmp_path / "gate.yaml").write_text(rules, "utf-8")
    done = subprocess.run(
        ["bash", "-c", alias + "\n".join(lines)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert "0" == ET.parse(tmp_path / "gate.xml").getroot().get("failures")
    assert "| pass | accuracy \\>= 0.6 |" in summary.read_text("utf-8")
