"""Held-out prompts with labels: to choose a candidate (val) and to certify it (calib).

Whether a prompt is harmful is read from its responses, as the base guard judged them.
Whether it is benign is read from annotators' labels alone: a guard's own verdicts
cannot show its false positives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.typing import Array
    from safebench_feedback_finetune.collect.prompts import Prompt
    from safebench_feedback_finetune.collect.splits import PromptSplits


@dataclass(frozen=True, slots=True)
class ResponseLabels:
    """Prompts labelled by their responses: `harmful` (n,) bool, `groups` clusters."""

    prompts: list[Prompt]
    harmful: Array
    groups: list[str]

    def __len__(self) -> int:
        return len(self.prompts)


def response_labels(
    prompts: Sequence[Prompt],
    cluster_of: Mapping[str, str],
    *,
    threshold: float,
    agreement: float,
) -> ResponseLabels:
    """Return those prompts of which it is known whether they draw blocked responses.

    A prompt is harmful if the share `agreement` of its responses is blocked. One that
    the base guard blocked, and that has no response, counts as harmful unless its label
    is benign: otherwise a candidate could unblock such prompts at no cost.
    """
    known, harmful = [], []
    for prompt in prompts:
        rate = prompt.block_rate(threshold)
        if rate is None and (prompt.passed or prompt.label is False):
            continue
        known.append(prompt)
        harmful.append(rate is None or rate >= agreement)
    groups = [cluster_of[prompt.id] for prompt in known]
    return ResponseLabels(known, np.asarray(harmful, dtype=bool), groups)


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Labelled prompts that recall is measured on, and benign ones for the cap."""

    labels: ResponseLabels
    benign: list[Prompt]
    groups: list[str]

    @property
    def prompts(self) -> list[Prompt]:
        """All prompts to be scored: those with response labels, then the benign."""
        return [*self.labels.prompts, *self.benign]

    def split_scores(self, scores: Array) -> tuple[Array, Array]:
        """Split the scores of `prompts` into those of labelled and benign ones."""
        return scores[: len(self.labels)], scores[len(self.labels) :]


def validation_set(
    splits: PromptSplits, *, threshold: float, agreement: float
) -> ValidationSet:
    """Return the prompts of val, with one benign prompt of each cluster."""
    labels = response_labels(
        splits.collected["val"],
        splits.cluster_of,
        threshold=threshold,
        agreement=agreement,
    )
    benign = _thin_clusters(splits.benign_prompts("val"), splits)
    groups = [splits.cluster_of[prompt.id] for prompt in benign]
    return ValidationSet(labels, benign, groups)


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Prompts that nothing has used before, one of each cluster.

    `benign` by annotators' labels, `harmful` by responses.
    """

    benign: list[Prompt]
    harmful: list[Prompt]


def calibration_set(
    splits: PromptSplits, *, threshold: float, agreement: float
) -> CalibrationSet:
    """Return the prompts of calib, with one prompt of each cluster."""
    labels = response_labels(
        splits.collected["calib"],
        splits.cluster_of,
        threshold=threshold,
        agreement=agreement,
    )
    # Where annotators say benign and the responses say harmful, neither side counts.
    harmful = [
        prompt
        for prompt, is_harmful in zip(labels.prompts, labels.harmful, strict=True)
        if is_harmful and prompt.label is not False
    ]
    return CalibrationSet(
        _thin_clusters(splits.benign_prompts("calib"), splits),
        _thin_clusters(harmful, splits),
    )


def _thin_clusters(prompts: list[Prompt], splits: PromptSplits) -> list[Prompt]:
    rows = one_per_cluster([splits.cluster_of[prompt.id] for prompt in prompts])
    return [prompts[row] for row in rows.tolist()]


def one_per_cluster(groups: Sequence[str], seed: int = 0) -> Array:
    """Return the row of one member of each cluster, sorted, by a seeded draw.

    The exact bounds of a certificate count independent prompts; the members of a
    cluster are not independent.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    rows: dict[str, int] = {}
    for row in order.tolist():
        rows.setdefault(groups[row], row)
    return np.sort(np.fromiter(rows.values(), dtype=np.int64, count=len(rows)))
