"""Split prompts into train, val, calib and test, by clusters, before any training.

`val` serves to choose a candidate, `calib` to certify it, `test` to evaluate. Prompts
that annotators call benign go to calib and val, and to train if that is asked for:
what the guard itself let pass cannot show its false positives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench.training import ProgressBar

from .near_duplicates import near_duplicate_clusters
from .prompts import score_responses

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from safebench_feedback_finetune.scorer import VerdictScorer

    from .prompts import Prompt

SPLITS = ("train", "val", "calib", "test")
BENIGN_SPLITS = ("train", "val", "calib")


@dataclass(frozen=True, slots=True)
class PromptSplits:
    """The prompts of each split, and the name of each prompt's cluster by prompt id.

    `left_out` counts benign prompts in no split: those that equal a collected prompt,
    and those in a cluster whose split takes no benign prompts.
    """

    collected: dict[str, list[Prompt]]
    benign: dict[str, list[Prompt]]
    cluster_of: dict[str, str] = field(repr=False)
    left_out: int = 0

    def benign_prompts(self, split: str) -> list[Prompt]:
        """Return all prompts of a split with the label benign, however they scored."""
        collected = [p for p in self.collected[split] if p.label is False]
        return [*collected, *self.benign.get(split, ())]

    def counts(self) -> dict[str, Any]:
        """Return the numbers of prompts and clusters, for a manifest."""
        return {
            split: {
                "collected": len(self.collected[split]),
                "benign": len(self.benign_prompts(split)),
                "clusters": len({self.cluster_of[p.id] for p in self.collected[split]}),
            }
            for split in SPLITS
        } | {"benign_left_out": self.left_out}

    def digest(self) -> str:
        """Return 16 hex digits that identify which prompt is in which split."""
        lines = [
            f"{split} {prompt.id}"
            for prompts_by_split in (self.collected, self.benign)
            for split in SPLITS
            for prompt in prompts_by_split.get(split, ())
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def parse_split_shares(text: str) -> dict[str, float]:
    """Parse ``60/10/15/15`` into the shares of train, val, calib and test, of sum 1.

    Of three numbers (train, val, test) the second is the share of calib as well.
    """
    try:
        numbers = [float(number) for number in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) == len(SPLITS) - 1:
        numbers.insert(2, numbers[1])
    if len(numbers) != len(SPLITS) or not all(0 < n < float("inf") for n in numbers):
        raise OptionError(
            "split: four numbers above 0 such as 60/10/15/15 (train, val, calib, "
            f"test), got {text!r}"
        )
    return {split: n / sum(numbers) for split, n in zip(SPLITS, numbers, strict=True)}


def split_prompts(
    prompts: Sequence[Prompt],
    benign: Sequence[Prompt],
    shares: Mapping[str, float],
    *,
    benign_val: float = 0.25,
    benign_train: float = 0.0,
    seed: int = 0,
) -> PromptSplits:
    """Return the splits of collected and benign prompts, whatever their order.

    Collected prompts are split by `shares`; of the benign prompts val and train get the
    given shares, calib the rest. A cluster goes to one split as a whole. Collected
    clusters are stratified by what the guards made of them, so that each split has the
    same mix.
    """
    collected_ids = {prompt.id for prompt in prompts}
    # Each benign prompt once, and none that was collected.
    others = list({p.id: p for p in benign if p.id not in collected_ids}.values())
    cluster_of = _cluster_names([*prompts, *others])
    collected_split = _assign_clusters(_strata(prompts, cluster_of), shares, seed)
    benign_sizes: dict[Hashable, dict[str, int]] = {}
    for prompt in others:
        cluster = cluster_of[prompt.id]
        if cluster not in collected_split:
            sizes = benign_sizes.setdefault(prompt.dataset, {})
            sizes[cluster] = sizes.get(cluster, 0) + 1
    benign_shares = {
        "train": benign_train,
        "val": benign_val,
        "calib": 1 - benign_train - benign_val,
    }
    benign_split = _assign_clusters(benign_sizes, benign_shares, seed)
    # A benign prompt that is like a collected one must go where that one went.
    split_of = benign_split | collected_split
    collected_prompts = {
        split: [p for p in prompts if split_of[cluster_of[p.id]] == split]
        for split in SPLITS
    }
    benign_prompts = {
        split: [p for p in others if split_of[cluster_of[p.id]] == split]
        for split in BENIGN_SPLITS
        if benign_shares[split] > 0
    }
    left_out = len(benign) - sum(map(len, benign_prompts.values()))
    return PromptSplits(collected_prompts, benign_prompts, cluster_of, left_out)


def _cluster_names(prompts: Sequence[Prompt]) -> dict[str, str]:
    """Return the cluster of each prompt, named after its smallest prompt id.

    Cluster numbers depend on the order of prompts, these names do not.
    """
    numbers = near_duplicate_clusters(
        [p.text for p in prompts], [[p.group] for p in prompts]
    ).tolist()
    names: dict[int, str] = {}
    for prompt, number in zip(prompts, numbers, strict=True):
        names[number] = min(names.get(number, prompt.id), prompt.id)
    return {p.id: names[number] for p, number in zip(prompts, numbers, strict=True)}


def _strata(
    prompts: Sequence[Prompt], cluster_of: Mapping[str, str]
) -> dict[Hashable, dict[str, int]]:
    """Return the sizes of clusters, by the set of outcomes of their prompts."""
    members: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        members.setdefault(cluster_of[prompt.id], []).append(prompt)
    strata: dict[Hashable, dict[str, int]] = {}
    for cluster, cluster_prompts in members.items():
        outcomes = frozenset(map(_outcome, cluster_prompts))
        strata.setdefault(outcomes, {})[cluster] = len(cluster_prompts)
    return strata


def _outcome(prompt: Prompt) -> tuple[bool, bool, bool | None]:
    """Return whether a prompt passed, whether it was missed, and its label."""
    majority = 0.5
    missed = prompt.passed and (prompt.block_rate(0.5) or 0) >= majority
    return prompt.passed, missed, prompt.label


def _assign_clusters(
    strata: Mapping[Hashable, Mapping[str, int]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Return the split of each cluster.

    The clusters of a stratum are laid end to end in a seeded order of their hashes, and
    the stretch is divided by `shares`: a cluster goes to the split in which its middle
    lies. Sizes come out closer to the shares than by a draw for each cluster.
    """
    split_of: dict[str, str] = {}
    for sizes in strata.values():
        total, position = sum(sizes.values()), 0
        for cluster in sorted(sizes, key=lambda name: _cluster_hash(name, seed)):
            if cluster in split_of:  # a benign cluster may span two datasets
                continue
            middle = (position + sizes[cluster] / 2) / total
            split_of[cluster] = _split_at(middle, shares)
            position += sizes[cluster]
    return split_of


def _cluster_hash(cluster: str, seed: int) -> str:
    """Return the hash by which clusters are ordered; it depends on the seed."""
    # As trainers order groups, for splits of earlier versions to stay what they were.
    return hashlib.sha256(f"split\x1f{seed}\x1f{cluster}".encode()).hexdigest()


def _split_at(middle: float, shares: Mapping[str, float]) -> str:
    end = 0.0
    for split, share in shares.items():
        end += share
        if middle < end:
            return split
    return split  # the sum of shares may round to slightly less than 1


def with_scored_responses(splits: PromptSplits, scorer: VerdictScorer) -> PromptSplits:
    """Return the splits with the responses to blocked prompts scored as well.

    Not those of train: a blocked prompt has no label there, it is replayed.
    """
    unscored = {k: v for k, v in splits.collected.items() if k != "train"}
    n_responses = sum(
        len(p.responses) for prompts in unscored.values() for p in prompts
    )
    if not n_responses:
        return splits
    with ProgressBar("responses to stopped prompts", n_responses, "responses") as bar:
        scored = {
            split: score_responses(prompts, scorer, bar.move)
            for split, prompts in unscored.items()
        }
    return replace(splits, collected=splits.collected | scored)


def splits_text(splits: PromptSplits) -> str:
    """Return the sizes of the splits, a line each."""
    counts = splits.counts()
    lines = [
        f"{split}: {counts[split]['collected']} collected, "
        f"{counts[split]['benign']} benign"
        for split in SPLITS
    ]
    if splits.left_out:
        lines.append(f"{splits.left_out} benign prompts left out: like a collected one")
    return "\n".join(lines)
