"""Numbers that others published, and data with groups."""

from __future__ import annotations

import csv
import json
import lzma
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.metrics.arrays import metric_definition
from safebench.metrics.column_intervals import column_intervals
from safebench.metrics.definition import truth_and
from safebench.statistics import Interval, shared_weights

if TYPE_CHECKING:
    from collections.abc import Callable


def oracle(name: str) -> Path:
    """Return a file of the folder of oracles, or skip the test."""
    root = os.environ.get("SAFEBENCH_ORACLES")
    if not root:
        pytest.skip("SAFEBENCH_ORACLES is not set: no published numbers to check")
    return Path(root) / name


@dataclass(frozen=True)
class Asah:
    """The patients of R's pROC: outcome (113,), three scores, published numbers."""

    y: np.ndarray
    scores: dict[str, np.ndarray]
    expected: dict[str, Any]


@pytest.fixture(scope="session")
def asah() -> Asah:
    """Read the data of pROC's own tests."""
    with oracle("asah.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = json.loads(oracle("asah_expected.json").read_text())
    y = np.array([row["outcome"] == expected["positive"] for row in rows])
    names = ("wfns", "s100b", "ndka")
    scores = {name: np.array([float(row[name]) for row in rows]) for name in names}
    return Asah(y, scores, expected)


@dataclass(frozen=True)
class Answers:
    """Truth and decisions of one guard on one set; an unparsed answer is an error."""

    y: np.ndarray
    decision: np.ndarray


LINES = {"prompt": "Request", "response": "Response", "refusal": "Completion"}
POSITIVE = {"harmful", "refusal"}
WORDS = {
    "prompt": "(?:un)?harmful",
    "response": "(?:un)?harmful",
    "refusal": "refusal|compliance",
}


def _answer(row: dict[str, str]) -> bool | None:
    words = WORDS[row["task"]]
    pattern = rf"{LINES[row['task']]}:? *({words})\b"
    match = re.search(pattern, row["answer_tail"], re.IGNORECASE)
    return None if match is None else match[1].lower() in POSITIVE


@pytest.fixture(scope="session")
def answers() -> dict[str, Answers]:
    """Return answers of real guards, by ``SIZE/SET``."""
    by_set: dict[str, list[tuple[bool, bool]]] = {}
    with lzma.open(oracle("guardreasoner_answers.jsonl.xz"), "rt") as file:
        for line in file:
            row = json.loads(line)
            y, answer = row["label"] in POSITIVE, _answer(row)
            key = f"{row['model'].rpartition('-')[2]}/{row['set']}"
            by_set.setdefault(key, []).append((y, not y if answer is None else answer))
    return {key: Answers(*np.array(rows).T) for key, rows in by_set.items()}


@dataclass(frozen=True)
class Grouped:
    """Truth, probability, decision and groups, (n,) each."""

    y: np.ndarray
    p: np.ndarray
    decision: np.ndarray
    groups: np.ndarray


def grouped(seed: int, n: int = 300, groups: int = 80) -> Grouped:
    """Draw samples whose groups share a part of what decides, with tied scores."""
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=n)
    z = rng.normal(size=groups)[group] + rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(-z))
    p = np.round(1 / (1 + np.exp(-1.5 * z)), 2)
    return Grouped(y, p, p >= 0.5, group)


@pytest.fixture
def data() -> Grouped:
    """Return 300 samples in 80 groups."""
    return grouped(seed=4)


def _bootstrapped(
    name: str, y: Any, x: Any, groups: Any = None, n_resamples: int = 2000
) -> Interval:
    weights = shared_weights(y, groups, n_resamples=n_resamples)
    resampled = replace(metric_definition(name), interval=None)
    columns = truth_and(y, x)
    intervals = column_intervals(
        {name: resampled}, columns, weights.group_index, lambda: weights
    )
    return intervals[name]


@pytest.fixture
def bootstrapped() -> Callable[..., Interval]:
    """Return what gives a metric's interval as if it had no method of its own."""
    return _bootstrapped
