"""The tables of an evaluation: differences, and what is prevented."""

from __future__ import annotations

from typing import Any

from safebench_feedback_finetune.evaluate.report import (
    differences_text,
    prevention_text,
)


def test_differences_and_prevention_are_tables() -> None:
    """A row for each comparison; an interval that is not known is left out."""
    complete = {"value": 0.01, "low": -0.02, "high": 0.04}
    without_interval = {"value": -0.5, "low": None, "high": None}
    minus = {
        "f1": complete,
        "fpr": without_interval,
        "recall": complete,
        "auprc": complete | {"value": None},
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
    set_record: dict[str, Any] = {
        "name": "s",
        "contenders": {
            "base": {"prevention": none},
            "improved": {
                "prevention": prevented,
                "minus": {"base": minus | {"mcnemar": {"p": 0.25}}},
            },
        },
    }

    header, row = differences_text([set_record]).splitlines()
    assert header.split()[:2] == ["difference", "set"]
    assert row.startswith("improved - base")
    assert "+0.010 [-0.020, +0.040]" in row
    assert ["-0.500", "-", "0.250"] == [
        cell for cell in row.split() if cell in ("-0.500", "-", "0.250")
    ][1:]
    set_record["contenders"]["improved"]["minus"]["base"]["mcnemar"]["p"] = 1e-5
    assert differences_text([set_record]).endswith("<0.001")
    lines = prevention_text(set_record).splitlines()
    assert ["base", "0", "2", "-", "1"] == lines[1].split()
    assert ["improved", "4", "2", "0.50", "1"] == lines[2].split()
    assert "of 9 blocked outputs" in lines[3]
