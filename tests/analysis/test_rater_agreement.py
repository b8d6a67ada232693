"""Krippendorff's alpha, against published numbers and by hand."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from safebench.analysis.agreement import krippendorff_alpha
from safebench.analysis.sample_metadata import rater_agreement_notes
from safebench.pipeline.config import RunConfig
from safebench.pipeline.evaluation_set import load_evaluation_sets
from safebench.plugins import Plugins


def oracle(name: str) -> Path:
    """Return a file of the folder of oracles, or skip the test."""
    root = os.environ.get("SAFEBENCH_ORACLES")
    if not root:
        pytest.skip("SAFEBENCH_ORACLES is not set: no published numbers to check")
    return Path(root) / name


def test_alpha_of_dices_is_the_published_one() -> None:
    """990 conversations rated Yes, No or Unsure: 0.14324966."""
    expected = json.loads(oracle("dices_expected.json").read_text())
    with oracle("dices_990_votes.csv").open() as file:
        votes = [row["votes"].split() for row in csv.DictReader(file)]
    counts = np.array([[each.count(kind) for kind in "NYU"] for each in votes])

    assert expected["krippendorff_alpha_nominal"] == pytest.approx(
        krippendorff_alpha(counts), abs=1e-10
    )


def test_alpha_by_hand() -> None:
    """Raters a a, a b, b b: 1/3 differ, 18/30 by chance; a lone rating is left out."""
    counts = np.array([[2, 0], [1, 1], [0, 2], [1, 0]])
    assert 1 - (1 / 3) / (18 / 30) == pytest.approx(krippendorff_alpha(counts))
    assert 1 == krippendorff_alpha(counts[[0, 2]])
    assert krippendorff_alpha(counts[:1]) is None


def test_analyze_says_how_far_raters_agree() -> None:
    """Of all 990 conversations, those without a majority as well: 0.143."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root or not (Path(root) / "google" / "dices_dataset").is_dir():
        pytest.skip("needs google/dices_dataset in SAFEBENCH_DATA")
    config = RunConfig(datasets=("dices",), data_root=root)
    (part,) = load_evaluation_sets(config, Plugins())

    (note,) = rater_agreement_notes(part.dataset)

    assert "alpha of raters 0.143 (990 samples, Yes, No, Unsure;" in note


def test_datasets_without_ratings_say_nothing() -> None:
    """The starter set has labels, and no raters."""
    (part,) = load_evaluation_sets(RunConfig(datasets=("starter",)), Plugins())

    assert [] == rater_agreement_notes(part.dataset)
