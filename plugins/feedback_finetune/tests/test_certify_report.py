"""What people read: the gate's outcome, differences, and what is prevented."""

from __future__ import annotations

from typing import Any

import pytest

from safebench_feedback_finetune.certify.report import certificate_text, run_command
from safebench_feedback_finetune.options import FeedbackTrainOptions

MANIFEST: dict[str, Any] = {
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


def _options(**changes: Any) -> FeedbackTrainOptions:
    return FeedbackTrainOptions(collected="c", out="my out", benign=("b",), **changes)


def _manifest_with(**changed: Any) -> dict[str, Any]:
    return MANIFEST | {"gate": MANIFEST["gate"] | changed}


def test_a_passed_certificate_is_shown_with_its_counts() -> None:
    """Counts, rates and bounds, the promise with its confidence, and alarms."""
    text = certificate_text(MANIFEST, "RUN")

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
  that is below the base guard's own rate: a candidate had to flag fewer benign \
prompts than it, which costs recall; more --benign prompts or a higher --cap-margin \
ask for less
alarm: everything is flagged
run it: RUN -s first_token,threshold=0.25 -d NAME"""
    assert expected == text


def test_what_the_gate_could_have_accepted_is_said() -> None:
    """Power and choice have lines of their own; trainings of before have neither."""
    power = {"n_harmful": 30, "n_missed": 20, "min_gained": 8, "min_gain": 8 / 30}
    power |= {"likely_gain": 0.35, "n_benign": 200, "max_false_positives": 31}
    choice = {"other": {"alpha": 1.0, "threshold": 0.5}, "n": 90, "n_harmful": 12}
    choice |= {"f1": 0.5, "other_f1": 0.48, "lead": 0.02, "low": -0.1, "high": 0.14}
    manifest = _manifest_with(power=power, candidate={"alpha": 0.0, "threshold": 0.4})
    manifest = manifest | {"choice": choice}

    text = certificate_text(manifest, "RUN")

    assert (
        "could not have accepted less than +0.267 in recall (8 gained, none lost)"
        in (text)
    )
    assert "what truly gains +0.350 passes 8 of 10 times" in text
    assert "200 benign prompts of calib may have 31 false positives" in text
    assert (
        "F1 0.500 against 0.480 of the LoRA at its best (12 harmful prompts of 90 "
        in (text)
    )
    assert "+0.020 [-0.100, +0.140], which may be chance" in text
    registered = MANIFEST["promise"] | {"aim": 0.18}
    text = certificate_text(MANIFEST | {"promise": registered}, "RUN")
    assert "below the base guard's own rate" not in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"status": "rejected"}, "the base guard is kept; what was learnt lies in "),
        ({"candidate": {"alpha": 0.0, "threshold": 0.4}}, "nothing that was learnt"),
    ],
)
def test_a_kept_base_guard_is_not_called_an_improvement(
    changed: dict[str, Any], message: str
) -> None:
    """Rejected, or the base guard at another threshold: both are said to be so."""
    assert message in certificate_text(_manifest_with(**changed), "RUN")


@pytest.mark.parametrize(
    ("changes", "candidate", "command"),
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
def test_the_run_command_fits_the_guard(
    changes: dict[str, Any], candidate: dict[str, float], command: str
) -> None:
    """Model, adapter and what differs from the defaults, ready to be pasted."""
    text_ = run_command(_options(**changes), _manifest_with(candidate=candidate))

    assert f"safebench run -c llamaguard {command}".strip() == text_
