"""Alarms of a collapse, whatever the gate made of the candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench_feedback_finetune.certify.candidates import Candidate
from safebench_feedback_finetune.certify.certification import (
    CertificationTerms,
    PreRegistration,
    certify_candidate,
)
from safebench_feedback_finetune.certify.holdout_sets import CalibrationSet
from safebench_feedback_finetune.collect.prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

N_BENIGN, N_HARMFUL = 80, 20
BASE = Candidate(alpha=0.0, threshold=0.55)
# How the LoRA at full scale scores calib: benign prompts, then harmful ones.
SPREAD = np.linspace(0.01, 0.39, N_BENIGN + N_HARMFUL)
COLLAPSES = {
    "everything": (SPREAD + 0.6, ("everything is flagged", "precision 0.200")),
    "nothing": (SPREAD, ("nothing is flagged",)),
    "constant": (np.full(100, 0.5), ("scores hardly differ",)),
    "diverged": (np.full(100, np.nan), ("100 of 100 scores are no numbers",)),
    "half diverged": (
        np.where(np.arange(100) % 2, np.nan, SPREAD),
        ("50 of 100 scores are no numbers",),
    ),
    "coin": (
        np.where(np.arange(100) % 2, 0.9, SPREAD),
        ("no better than the base rate",),
    ),
}


def _prompts(n: int, label: bool) -> list[Prompt]:
    return [
        Prompt(id=f"{label}{i}", text=f"text {i}", dataset="d", group=str(i))
        for i in range(n)
    ]


CALIB = CalibrationSet(_prompts(N_BENIGN, False), _prompts(N_HARMFUL, True))


def _alarms(learnt: Array, candidate: Candidate | None) -> tuple[str, list[str]]:
    base = np.append(np.linspace(0, 0.63, N_BENIGN), np.linspace(0.3, 0.9, N_HARMFUL))

    def score(alpha: float, prompts: Sequence[Prompt]) -> Array:
        assert len(prompts) == N_BENIGN + N_HARMFUL
        return learnt if alpha else base

    registered = PreRegistration(
        terms=CertificationTerms(cap=0.2),
        base_fpr=0.05,
        base_recall=0.5,
        aim=0.1,
        n_benign=N_BENIGN,
        candidate=candidate,
        control=BASE,
    )
    certificate, alarms = certify_candidate(registered, CALIB, score, 0.5)
    return certificate.status, alarms


@pytest.mark.parametrize("name", COLLAPSES)
@pytest.mark.parametrize("candidate", [None, BASE], ids=["none", "the base guard"])
def test_a_collapse_raises_alarms_without_a_candidate_of_its_own(
    name: str, candidate: Candidate | None
) -> None:
    """The gate's choice hides no sign of a collapse in what was learnt."""
    learnt, words = COLLAPSES[name]

    status, alarms = _alarms(learnt, candidate)

    assert status == "rejected"
    about_learnt = [a for a in alarms if a.startswith("what was learnt: ")]
    assert all(any(word in alarm for alarm in about_learnt) for word in words)
    assert candidate is None or alarms == about_learnt


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_candidate_that_collapsed_raises_its_own_alarms(name: str) -> None:
    """They are those of the registered scale and threshold, said once."""
    learnt, words = COLLAPSES[name]

    _, alarms = _alarms(learnt, Candidate(alpha=1.0, threshold=0.5))

    assert all(any(word in alarm for alarm in alarms) for word in words)
    assert not any("what was learnt" in alarm for alarm in alarms)


@pytest.mark.parametrize("candidate", [None, BASE])
def test_a_sound_lora_raises_none(candidate: Candidate | None) -> None:
    """A LoRA that decides much like the base guard is no cause for alarm."""
    sound = np.append(np.linspace(0, 0.6, N_BENIGN), np.linspace(0.4, 0.95, N_HARMFUL))

    assert _alarms(sound, candidate)[1] == []
