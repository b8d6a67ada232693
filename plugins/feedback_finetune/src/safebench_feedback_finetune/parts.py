"""Cut prompts into train, val, calib and test, by clusters, before anything is learnt.

`calib` serves the gate alone. Human-labelled benign prompts go there, some to val for
the limit of false positives and, if it is asked for, some to train.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench.training.progress import Bar
from safebench.training.split import group_hash

from .clusters import clusters
from .prompts import judge_responses

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from .prompts import Prompt
    from .scorer import VerdictScorer

PARTS = ("train", "val", "calib", "test")
BENIGN_PARTS = ("train", "val", "calib")


@dataclass(frozen=True, slots=True)
class Parts:
    """The prompts of each part, and the cluster of each prompt by its id.

    `left_out` counts benign prompts that are like a prompt of train or test, or equal
    to a collected one.
    """

    collected: dict[str, list[Prompt]]
    benign: dict[str, list[Prompt]]
    cluster: dict[str, str] = field(repr=False)
    left_out: int = 0

    def benign_of(self, part: str) -> list[Prompt]:
        """Return all prompts of a part that people call benign, filtered by nobody."""
        own = [prompt for prompt in self.collected[part] if prompt.label is False]
        return [*own, *self.benign.get(part, ())]

    def counts(self) -> dict[str, Any]:
        """Return the numbers of prompts and clusters, for a manifest."""
        return {
            part: {
                "collected": len(self.collected[part]),
                "benign": len(self.benign_of(part)),
                "clusters": len({self.cluster[p.id] for p in self.collected[part]}),
            }
            for part in PARTS
        } | {"benign_left_out": self.left_out}

    def digest(self) -> str:
        """Return a hash of who is in which part."""
        lines = [
            f"{part} {prompt.id}"
            for found in (self.collected, self.benign)
            for part in PARTS
            for prompt in found.get(part, ())
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def parse_shares(text: str) -> dict[str, float]:
    """Read ``60/10/15/15``: the shares of train, val, calib and test.

    Of three numbers (train, val, test) the second holds for calib, too.
    """
    try:
        numbers = [float(piece) for piece in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) == len(PARTS) - 1:
        numbers.insert(2, numbers[1])
    if len(numbers) != len(PARTS) or not all(0 < n < float("inf") for n in numbers):
        raise OptionError(
            "split: four numbers above 0 such as 60/10/15/15 (train, val, calib, "
            f"test), got {text!r}"
        )
    return {p: n / sum(numbers) for p, n in zip(PARTS, numbers, strict=True)}


def cut(
    prompts: Sequence[Prompt],
    benign: Sequence[Prompt],
    shares: Mapping[str, float],
    *,
    benign_val: float = 0.25,
    benign_train: float = 0.0,
    seed: int = 0,
) -> Parts:
    """Return the parts; nothing depends on the order of prompts.

    Of the benign prompts, val and train get these shares, calib the rest.

    A cluster goes to one part as a whole. Clusters that went through the guards in the
    same way are dealt out together, so that each part has the same mix.
    """
    known = {prompt.id for prompt in prompts}
    others = list({p.id: p for p in benign if p.id not in known}.values())
    cluster = _clusters([*prompts, *others])
    place = _dealt_out(_strata(prompts, cluster), shares, seed)
    alone: dict[Hashable, dict[str, int]] = {}
    for prompt in others:
        name = cluster[prompt.id]
        if name not in place:
            sizes = alone.setdefault(prompt.dataset, {})
            sizes[name] = sizes.get(name, 0) + 1
    benign_calib = 1 - benign_train - benign_val
    wanted = dict(
        zip(BENIGN_PARTS, (benign_train, benign_val, benign_calib), strict=True)
    )
    dealt = _dealt_out(alone, wanted, seed)
    collected = {
        part: [p for p in prompts if place[cluster[p.id]] == part] for part in PARTS
    }
    where = dealt | place
    kept = {
        part: [p for p in others if where[cluster[p.id]] == part]
        for part in BENIGN_PARTS
        if wanted[part] > 0
    }
    left_out = len(benign) - sum(map(len, kept.values()))
    return Parts(collected, kept, cluster, left_out)


def _clusters(prompts: Sequence[Prompt]) -> dict[str, str]:
    """Return the cluster of each prompt, named after the least id in it."""
    numbers = clusters([p.text for p in prompts], [[p.group] for p in prompts]).tolist()
    names: dict[int, str] = {}
    for prompt, number in zip(prompts, numbers, strict=True):
        names[number] = min(names.get(number, prompt.id), prompt.id)
    return {p.id: names[number] for p, number in zip(prompts, numbers, strict=True)}


def _strata(
    prompts: Sequence[Prompt], cluster: Mapping[str, str]
) -> dict[Hashable, dict[str, int]]:
    """Return the sizes of clusters, apart by what became of their prompts."""
    members: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        members.setdefault(cluster[prompt.id], []).append(prompt)
    strata: dict[Hashable, dict[str, int]] = {}
    for name, rows in members.items():
        strata.setdefault(frozenset(map(_fate, rows)), {})[name] = len(rows)
    return strata


def _fate(prompt: Prompt) -> tuple[bool, bool, bool | None]:
    slipped = prompt.passed and (prompt.block_rate(0.5) or 0) >= 0.5  # noqa: PLR2004
    return prompt.passed, slipped, prompt.label


def _dealt_out(
    strata: Mapping[Hashable, Mapping[str, int]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Give each cluster to the part in whose stretch of its stratum its middle lies."""
    place: dict[str, str] = {}
    for sizes in strata.values():
        total, done = sum(sizes.values()), 0
        for name in sorted(sizes, key=lambda name: group_hash(name, seed)):
            if name in place:
                continue
            place[name] = _part_at((done + sizes[name] / 2) / total, shares)
            done += sizes[name]
    return place


def _part_at(middle: float, shares: Mapping[str, float]) -> str:
    end = 0.0
    for name, share in shares.items():
        end += share
        if middle < end:
            return name
    return name


def judged(parts: Parts, scorer: VerdictScorer) -> Parts:
    """Return the parts with the responses to stopped prompts judged, too.

    Those of train stay as they are: what the guard stopped has no label there.
    """
    asked = {k: v for k, v in parts.collected.items() if k != "train"}
    responses = sum(len(p.responses) for prompts in asked.values() for p in prompts)
    if not responses:
        return parts
    with Bar("responses to stopped prompts", responses, "responses") as bar:
        found = {
            part: judge_responses(prompts, scorer, bar.move)
            for part, prompts in asked.items()
        }
    return replace(parts, collected=parts.collected | found)
