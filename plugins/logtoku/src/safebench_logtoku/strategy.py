"""The strategy `logtoku`: mean unreliability of the greedy verdict's worst tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from safebench.errors import OptionError
from safebench.evidence import GreedyPath
from safebench.strategies import Judgements, LabelColumns, first_reason

from .dirichlet import epistemic_over_aleatoric, token_reliability

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats

N_LEAST_RELIABLE = 25  # the tokens of a verdict that count, as in the paper
NOT_POSITIVE = "n/a: a logit that should be evidence is not positive"
NO_TOKENS = "n/a: the greedy verdict has no tokens"
NO_LABELS = "n/a: labels do not each have a first token of their own"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTokUOptions:
    """What counts as evidence, and how much of it is read.

    `variant`: the `k` largest logits of every token as they are (literal) or rectified
    (edl), or those of the labels at the first label's place (label). `verdict_floor` is
    the probability of a verdict below which a sample fails.
    """

    variant: Literal["literal", "edl", "label"] = "literal"
    k: int = 2
    verdict_floor: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.verdict_floor <= 1:
            raise ValueError(f"verdict_floor is {self.verdict_floor}, not in [0, 1]")
        if self.k < 2:  # noqa: PLR2004 - one token alone is always sure
            raise ValueError(f"k is {self.k}, not 2 or more")


def logtoku(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Uncertainty is the mean unreliability of the 25 least reliable tokens.

    With variant `label`: EU / AU of the largest label logits, and categories are these
    logits, which rank and are no probabilities.
    """
    options = context.options or LogTokUOptions()
    path = evidence[GreedyPath]
    if options.variant == "label":
        return _label_evidence(path, options.k, context)
    if options.k > path["logits"].shape[1]:
        recorded = path["logits"].shape[1]
        raise OptionError(f"logtoku, k: {options.k} logits, but {recorded} recorded")
    rectify = options.variant == "edl"
    tokens = token_reliability(
        _largest_logits(path["logits"], options.k), rectify=rectify
    )
    value = response_reliability(tokens, path.offsets["T"])
    empty = np.diff(path.offsets["T"]) == 0
    return Judgements(
        size=len(path),
        uncertainty=-value,
        errors=first_reason((empty, NO_TOKENS), (np.isnan(value), NOT_POSITIVE)),
        probability=False,
    )


def response_reliability(tokens: Floats, offsets: Array) -> Floats:
    """Return the mean of the 25 least reliable tokens (T,) of each sample, (B,).

    All, where there are fewer; NaN where there are none, or one is NaN.
    """
    size = len(offsets) - 1
    sample = np.repeat(np.arange(size), np.diff(offsets))
    # By sample, least reliable first, so that a rank within the sample selects them.
    order = np.lexsort((tokens, sample))
    rank = np.arange(len(tokens)) - offsets[sample]
    least = order[rank < N_LEAST_RELIABLE]
    total = np.bincount(sample[least], tokens[least], size)
    count = np.bincount(sample[least], minlength=size)
    # NaN sorts last and might not be among the selected: one makes all unknown.
    unknown = np.bincount(sample, np.isnan(tokens), size) > 0
    total = np.where(unknown, np.nan, total)
    none = np.full(size, np.nan)
    mean: Floats = np.divide(total, count, out=none, where=count > 0)
    return mean


def _label_evidence(path: GreedyPath, k: int, context: Context) -> Judgements:
    if "label_logits" not in path:
        raise OptionError("logtoku, variant=label: no logits of labels were recorded")
    logits = path["label_logits"]
    missing = np.isnan(logits).any(axis=1) | (logits.shape[1] < k)
    value = np.full(len(path), np.nan)
    value[~missing] = epistemic_over_aleatoric(_largest_logits(logits[~missing], k))
    columns = LabelColumns(path.meta["labels"], context.policy)
    return Judgements(
        size=len(path),
        labels=columns.names,
        categories=columns.arrange(logits),
        uncertainty=value,
        errors=first_reason((missing, NO_LABELS), (np.isnan(value), NOT_POSITIVE)),
        probability=False,
        categories_decide=False,
        note="categories are logits",
    )


def _largest_logits(logits: Array, k: int) -> Floats:
    """Return the k largest logits of each row, in float64."""
    width = logits.shape[1]
    largest: Floats = np.partition(logits, width - k, axis=1)[:, width - k :]
    return largest.astype(np.float64)
