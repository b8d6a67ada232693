"""`safebench drift`: its numbers by SciPy and by hand, its alarm, what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import fisher_exact, ks_2samp

from safebench.decision.drift import (
    PRINTED_DIGITS,
    find_alarm,
    find_alarms,
    population_stability,
)
from safebench.decision.score_stream import (
    ScoreLine,
    ScoreLines,
    ScoreSource,
    ScoreStream,
    to_stream,
)
from safebench.score.result import SIGNIFICANT_DIGITS
from safebench.statistics.exchangeability import (
    conformal_p_values,
    log_capital,
    log_capital_of_rate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    Run = Callable[..., Result]
    Write = Callable[..., Path]


def write_scores(name: str, scores: Any, **fields: Any) -> str:
    """Write lines of scores, with the same fields in each."""
    lines = [json.dumps({"score": s, **fields}) for s in scores]
    Path(name).write_text("\n".join(lines) + "\n", "utf-8")
    return name


@pytest.fixture
def normal(folder: Path) -> tuple[list[float], list[float]]:
    """Return a reference of 200 scores and a stream of 150 that are like them."""
    rng = np.random.default_rng(0)
    old, new = (rng.normal(size=n).round(4).tolist() for n in (200, 150))
    write_scores("old.jsonl", old)
    return old, new


def report(safebench: Run, *args: str, code: int = 0) -> dict[str, Any]:
    """Return the JSON of a command that exits with `code`."""
    result = safebench("drift", *args, "--format", "json")
    assert code == result.exit_code, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_numbers_are_those_of_scipy(
    normal: tuple[list[float], list[float]], safebench: Run
) -> None:
    """KS of what has a score, Fisher's test of what has none; quiet without drift."""
    old, new = normal
    with_gaps = [None if i in {3, 70} else s for i, s in enumerate(new)]
    content = report(safebench, "old.jsonl", write_scores("new.jsonl", with_gaps))
    known = [s for s in with_gaps if s is not None]
    expected = ks_2samp(old, known)
    assert content["ks"] == pytest.approx(
        {"statistic": expected.statistic, "p": expected.pvalue}
    )
    fisher = fisher_exact([[2, 148], [0, 200]], alternative="greater").pvalue
    assert fisher == pytest.approx(content["missing_p"])
    assert (150, 148, 2) == tuple(
        content["stream"][k] for k in ("n", "scores", "missing")
    )
    assert content["alarm"]["line"] is None
    assert content["alarm"]["log10_highest"] < content["alarm"]["log10_rings_from"]
    assert 150 == content["alarm"]["trajectory"][-1]["line"]


def test_psi_by_hand() -> None:
    """Ten even bins; a bin that is empty counts as half a sample; ties join bins."""
    old = np.arange(1, 101) / 100  # ten in each bin, .1 being in the first
    new = np.array([0.05] * 30 + [0.15] * 10 + [0.95] * 10)
    psi = population_stability(old, new)
    assert psi is not None
    shares = [0.6, 0.2, *[0.01] * 7, 0.2]
    expected = sum((s - 0.1) * math.log(s / 0.1) for s in shares)
    assert (10, expected) == (psi.bins, pytest.approx(psi.value))
    assert 9 * (1 / 100 + 1 / 50) == pytest.approx(psi.expected)
    tied = population_stability(np.array([0.0] * 60 + [1.0] * 40), np.array([0.0, 1.0]))
    assert tied is not None
    by_hand = (0.5 - 0.6) * math.log(0.5 / 0.6) + (0.5 - 0.4) * math.log(0.5 / 0.4)
    assert (2, by_hand) == (tied.bins, pytest.approx(tied.value))
    assert population_stability(np.ones(30), np.zeros(5)) is None


def test_psi_without_drift_is_what_is_expected() -> None:
    """Mean and 95th percentile in 1,000 draws of the same distribution."""
    rng = np.random.default_rng(4)
    psis = [
        psi
        for _ in range(1000)
        if (psi := population_stability(rng.random(300), rng.random(200)))
    ]
    values = [psi.value for psi in psis]
    assert np.mean(values) == pytest.approx(psis[0].expected, rel=0.1)
    assert np.mean(np.array(values) > psis[0].usual_most) == pytest.approx(
        0.05, abs=0.02
    )


def test_a_shift_rings_at_a_line_of_the_file(
    normal: tuple[list[float], list[float]], safebench: Run
) -> None:
    """After 60 lines scores are higher: it rings soon after, and exits with 1."""
    _, new = normal
    shifted = [s + (1.5 if i >= 60 else 0) for i, s in enumerate(new)]
    file = write_scores("new.jsonl", shifted)
    Path(file).write_text("\n" + Path(file).read_text("utf-8"), "utf-8")  # a blank line
    content = report(safebench, "old.jsonl", file, code=1)
    line = content["alarm"]["line"]
    assert 61 < line < 110
    at = {p["line"]: p["log10_evidence"] for p in content["alarm"]["trajectory"]}
    assert at[line] >= content["alarm"]["log10_rings_from"]
    assert "scores" == content["alarm"]["because"]
    text = safebench("drift", "old.jsonl", file)
    assert f"RANG at line {line}, for scores" in text.stdout
    again = safebench("drift", "old.jsonl", file, "--format", "md")
    assert "| alarm | RANG" in again.stdout


def test_failures_are_drift(
    normal: tuple[list[float], list[float]], safebench: Run
) -> None:
    """Null, NaN, infinite and failed lines have no score, whatever stands there."""
    _, new = normal
    records: list[dict[str, Any]] = [{"score": s} for s in new]
    failing: tuple[dict[str, Any], ...] = (
        {"score": None},
        {"score": math.nan},
        {"score": math.inf},
        {"score": 0.5, "error": "it broke"},
        {"error": "it broke"},
    )
    for i, record in enumerate(failing * 4):
        records[7 * i + 5] = record
    Path("new.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    content = report(safebench, "old.jsonl", "new.jsonl", code=1)
    assert 20 == content["stream"]["missing"]
    assert "missing" == content["alarm"]["because"]
    assert content["missing_p"] < 0.001
    fewer = report(safebench, "new.jsonl", "old.jsonl")
    assert (20, 1.0) == (fewer["reference"]["missing"], fewer["missing_p"])
    nothing = write_scores("none.jsonl", [None] * 5)
    content = report(safebench, "old.jsonl", nothing, code=1)
    assert content["ks"] is content["psi"] is None
    assert any("has a score" in note for note in content["notes"])


def test_a_run_is_a_reference(write: Write, safebench: Run) -> None:
    """What `score` prints of the same samples is no drift, rounded as it is."""
    assert SIGNIFICANT_DIGITS == PRINTED_DIGITS
    rng = np.random.default_rng(1)
    y, score = rng.random(300) < 0.4, rng.integers(1, 4, size=300) / 3
    part = np.where(np.arange(300) < 100, "calibration", "test").tolist()
    groups = [f"g{i // 2}" for i in range(300)]
    write("set", y, score, part, columns={"group": groups})
    printed = [float(f"{s:.6g}") for s in rng.permutation(score)]
    named = {"classifier": "guard", "strategy": "plain", "model": "org/guard"}
    content = report(safebench, "one", write_scores("new.jsonl", printed, **named))
    assert 150 == content["reference"]["n"]
    assert "guard/plain on set:test" == content["reference"]["name"]
    assert content["ks"]["p"] > 0.2
    assert content["reference"]["unsafe"] is not None
    content = report(safebench, "one", "new.jsonl", "--part", "test")
    assert 100 == content["reference"]["n"]

    mixed = write_scores("mixed.jsonl", printed, **named)
    other = json.dumps({"score": 1e9, **named, "strategy": "other"}) + "\n"
    with Path(mixed).open("a", encoding="utf-8") as file:
        file.write(other * 3)
    content = report(safebench, "one", mixed)
    assert 300 == content["stream"]["n"]
    assert "3 lines of guard/other passed over" in content["notes"]
    for fields, message in (
        ({"model": "org/other"}, "is a score of org/other"),
        ({"strategy": "other"}, "holds scores of guard/other"),
        ({"model": None, "classifier": "else"}, "is a score of else"),
        (
            {"operating_point": {"of": "guard/plain+platt", "checksum": "1"}},
            "plain+platt",
        ),
    ):
        file_name = write_scores("bad.jsonl", printed, **{**named, **fields})
        result = safebench("drift", "one", file_name)
        assert 2 == result.exit_code, result.output
        assert message in " ".join(result.stderr.split())


def test_groups_and_times_are_noted(
    normal: tuple[list[float], list[float]], safebench: Run
) -> None:
    """One line a group counts; times that go back are said; points are not mixed."""
    _, new = normal
    records = [
        {"score": s, "group": f"g{i // 3}", "time": f"2026-01-01T00:00:{i % 30:02}"}
        for i, s in enumerate(new)
    ]
    Path("new.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    content = report(safebench, "old.jsonl", "new.jsonl")
    assert 50 == content["stream"]["n"]
    notes = "; ".join(content["notes"])
    assert "100 lines of groups that came before passed over" in notes
    assert "times go back 4 times" in notes
    records[3]["time"] = 10**400  # no time
    Path("new.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    assert 50 == report(safebench, "old.jsonl", "new.jsonl")["stream"]["n"]
    for i, record in enumerate(records):
        record["operating_point"] = {"checksum": str(i // 100)}
    Path("new.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    result = safebench("drift", "old.jsonl", "new.jsonl")
    assert 2 == result.exit_code
    assert "2 operating points (or none), first at line 1, line 101" in result.stderr


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("", (), "holds no line"),
        ('{"score": 1}\n{"sco', (), "new.jsonl:2: no JSON object"),
        ('{"score": "high"}', (), 'new.jsonl:1: score is "high", no number'),
        ('{"score": true}', (), "score is true, no number"),
        ('{"scor": 1}', (), "did you mean 'scor'?"),
        ('{"score": 1}', ("--alpha", "1"), "no number above 0 and below 1"),
        ('{"score": 1}', ("--of", "guard"), "choose from a run"),
        ('{"score": 1}', ("--plot", "d.txt"), "name a .png"),
    ],
    ids=["empty", "cut", "text", "bool", "field", "alpha", "of", "plot"],
)
def test_mistakes_exit_with_2(
    normal: Any, safebench: Run, text: str, args: tuple[str, ...], message: str
) -> None:
    """In one message that names the line or the option."""
    Path("new.jsonl").write_text(text, "utf-8")
    result = safebench("drift", "old.jsonl", "new.jsonl", *args)
    assert 2 == result.exit_code, result.output
    assert message in " ".join(result.stderr.split())


def test_other_files_and_fields(normal: Any, safebench: Run) -> None:
    """A missing file and a short reference are refused; fields inside are read."""
    short = write_scores("short.jsonl", [0.1] * 19)
    result = safebench("drift", short, short)
    assert 2 == result.exit_code
    assert "has 19 scores, a reference takes 20" in result.stderr
    assert 2 == safebench("drift", "old.jsonl", "absent.jsonl").exit_code
    lines = [json.dumps({"a": {"b": s / 20}}) for s in range(20)]
    # as Windows writes it
    Path("deep.jsonl").write_text("\r\n".join(lines), "utf-8-sig")
    content = report(safebench, "deep.jsonl", "deep.jsonl", "--score-field", "a.b")
    assert 20 == content["reference"]["scores"]


@pytest.mark.slow
def test_plot(normal: tuple[list[float], list[float]], safebench: Run) -> None:
    """A figure is written where the option says."""
    file = write_scores("new.jsonl", normal[1])
    result = safebench("drift", "old.jsonl", file, "--plot", "p/drift.png")
    assert 0 == result.exit_code, result.output
    assert Path("p/drift.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_alarm_is_rare_without_drift() -> None:
    """At most 5 % of 200 streams of 200 lines ring; a shift rings in nearly all."""
    for shift, fewest, most in ((0.0, 0, 10), (0.8, 180, 200)):
        pairs = []
        for rep in range(200):
            rng = np.random.default_rng([7, rep])
            sides = []
            for n, moved in ((60, 0.0), (200, shift)):
                score = rng.normal(size=n) + moved
                score[rng.random(n) < 0.05] = np.nan
                lines = np.arange(1, n + 1)
                sides.append(ScoreStream(name="s", score=score, lines=lines))
            pairs.append((sides[0], sides[1]))
        alarms = find_alarms(pairs, 0.05, range(200))
        assert fewest <= sum(alarm.line is not None for alarm in alarms) <= most
        alone = find_alarm(*pairs[3], 0.05, 3)
        assert alone.line == alarms[3].line
        assert np.allclose(alone.log10_evidence, alarms[3].log10_evidence)


def test_published_streams_keep_the_promise() -> None:
    """Every cell without drift rang in at most 5 %, of 1,000 streams."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "drift.json"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    quiet = [cell for cell in cells if cell["name"].startswith("no drift")]
    assert 6 == len(quiet)
    assert all(cell["reps"] == 1000 and cell["rang"] <= 0.05 for cell in quiet)


def test_evidence_after_a_line_is_of_the_lines_up_to_it() -> None:
    """Half of it on scores, which stays where a line has none; half on failures."""
    rng = np.random.default_rng(5)
    old, new = rng.random(30), rng.random(8)
    new[[0, 3, 4]] = np.nan
    sides = [
        ScoreStream(name="s", score=x, lines=np.arange(len(x))) for x in (old, new)
    ]
    alarm = find_alarm(sides[0], sides[1], 0.05, seed=9)
    known = new[~np.isnan(new)].round(6)
    capital = np.exp(log_capital(conformal_p_values(old.round(6), known, 9)))
    of_scores = [1.0, *(capital[i] for i in (0, 1, 1, 1, 2, 3, 4))]
    failures = np.exp(log_capital_of_rate(np.isnan(old), np.isnan(new), 10))
    expected = np.log10((np.array(of_scores) + failures) / 2)
    assert np.allclose(expected, alarm.log10_evidence)


def test_lines_are_not_compared_with_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A million lines would take a million times a million comparisons."""
    ours, other = (ScoreSource("guard", method) for method in ("a", "b"))
    lines = [ScoreLine(i, i / 9, (ours, other)[i % 2], None, None) for i in range(9)]

    def compared(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(ScoreLine, "__eq__", compared)
    stream = to_stream(ScoreLines.of(lines), "log", ours)

    assert [0 / 9, 2 / 9, 4 / 9, 6 / 9, 8 / 9] == stream.score.tolist()
    assert ("4 lines of guard/b passed over",) == stream.notes
