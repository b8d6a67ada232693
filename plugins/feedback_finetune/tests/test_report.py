"""What people read: the gate's outcome, differences, and what is prevented."""

from __future__ import annotations

from typing import Any

import pytest

from safebench_feedback_finetune.report import (
    differences_text,
    prevention_text,
    run_command,
    verdict_text,
)
from safebench_feedback_finetune.train_options import TrainOptions

FOUND: dict[str, Any] = {
    "gate": {
        "status": "passed",
        "reasons": [],
        "candidate": {"alpha": 0.5, "threshold": 0.25},
        "terms": {"cap": 0.2, "tolerance": 0.02, "delta": 0.05},
        "false_positives": 30,
        "n_benign": 200,
        "fpr": 0.15,
        "fpr_ucb": 0.1978,
        "gained": 5,
        "lost": 1,
        "n_harmful": 300,
        "recall_change": 4 / 300,
        "recall_change_lcb": -0.0131,
    },
    "promise": {"base_fpr": 0.17, "aim": 0.16, "n_benign": 200},
    "alarms": ["everything is flagged"],
}


def _options(**given: Any) -> TrainOptions:
    return TrainOptions(collected="c", out="my out", benign=("b",), **given)


def _gate(**changed: Any) -> dict[str, Any]:
    return FOUND | {"gate": FOUND["gate"] | changed}


def test_what_passed_is_shown_with_what_it_rests_on() -> None:
    """Counts, rates and bounds, the promise with its confidence, and alarms."""
    text = verdict_text(FOUND, "RUN")

    expected = """\
gate: passed
  candidate: LoRA at scale 0.5, threshold 0.25
  false positives: 30 of 200 benign prompts of calib (0.1500, upper bound 0.1978)
  recall: 5 gained, 1 lost of 300 harmful prompts of calib (+0.0133, \
lower bound -0.0131)
  promised with 0.95 confidence: false-positive rate 0.2000 at most \
(the base guard's on val: 0.1700), recall lost 0.02 at most
  chosen on val at a false-positive rate of 0.1600 at most: \
what 200 benign prompts of calib can confirm
alarm: everything is flagged
run it: RUN -s first_token,threshold=0.25 -d NAME"""
    assert expected == text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": "rejected"}, "the base guard is kept; what was learnt lies in "),
        ({"candidate": {"alpha": 0.0, "threshold": 0.4}}, "nothing that was learnt"),
    ],
)
def test_a_guard_that_stays_what_it_was_is_not_sold_as_a_better_one(
    changed: dict[str, Any], said: str
) -> None:
    """Rejected, or the base guard at another threshold: both are said to be so."""
    assert said in verdict_text(_gate(**changed), "RUN")


@pytest.mark.parametrize(
    ("given", "candidate", "command"),
    [
        ({}, {"alpha": 0.5}, "--adapter 'my out'"),
        ({}, {"alpha": 0.0}, ""),
        ({"guard": "a/b"}, {"alpha": 1.0}, "--model a/b --adapter 'my out'"),
        (
            {"policy": "llama-guard-2", "format": "chat"},
            {"alpha": 0.0},
            "--set policy=llama-guard-2 --set format=chat",
        ),
    ],
)
def test_the_command_that_runs_it_is_the_one_for_this_guard(
    given: dict[str, Any], candidate: dict[str, float], command: str
) -> None:
    """Model, adapter and what differs from the defaults, ready to be pasted."""
    got = run_command(_options(**given), _gate(candidate=candidate))

    assert f"safebench run -c llamaguard {command}".strip() == got


def test_differences_and_prevention_are_tables() -> None:
    """A row for each comparison; an interval that is not known is left out."""
    known = {"value": 0.01, "low": -0.02, "high": 0.04}
    bare = {"value": -0.5, "low": None, "high": None}
    minus = {
        "f1": known,
        "fpr": bare,
        "recall": known,
        "auprc": known | {"value": None},
    }
    prevented = {
        "outputs": 9,
        "prevented": 4,
        "harmless": 7,
        "lost": 2,
        "let_through": 1,
        "harmless_lost_per_output_prevented": 0.5,
    }
    none = prevented | {"prevented": 0, "harmless_lost_per_output_prevented": None}
    one: dict[str, Any] = {
        "name": "s",
        "contenders": {
            "base": {"prevention": none},
            "improved": {
                "prevention": prevented,
                "minus": {"base": minus | {"mcnemar": {"p": 0.25}}},
            },
        },
    }

    header, row = differences_text([one]).splitlines()
    assert header.split()[:2] == ["difference", "set"]
    assert row.startswith("improved - base")
    assert "+0.010 [-0.020, +0.040]" in row
    assert ["-0.500", "-", "0.250"] == [
        cell for cell in row.split() if cell in ("-0.500", "-", "0.250")
    ][1:]
    one["contenders"]["improved"]["minus"]["base"]["mcnemar"]["p"] = 1e-5
    assert differences_text([one]).endswith("<0.001")
    lines = prevention_text(one).splitlines()
    assert ["base", "0", "2", "-", "1"] == lines[1].split()
    assert ["improved", "4", "2", "0.50", "1"] == lines[2].split()
    assert "of 9 blocked outputs" in lines[3]
