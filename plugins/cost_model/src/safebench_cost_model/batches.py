"""Encoded pairs in batches: both responses of every pair in one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset, Sampler

from safebench.errors import DataError

from .encode import TextError
from .pairs import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from .encode import Encoded, Encoder
    from .pairs import Pair

STRETCH = 50  # batches that are sorted by length together


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Both exchanges as token ids, with p, q, q and the gap in severity.

    `group` is the prompt's: pairs of one prompt share responses.
    """

    first: Encoded
    second: Encoded
    targets: tuple[float, float, float, float]
    group: str = ""

    @property
    def length(self) -> int:
        """Tokens of the longer exchange."""
        return max(len(self.first.ids), len(self.second.ids))


class EncodedPairs(Dataset[EncodedPair]):
    """Pairs that are ready for a `Trainer`."""

    def __init__(self, pairs: Sequence[EncodedPair]) -> None:
        self.pairs = pairs

    @property
    def lengths(self) -> list[int]:
        """Tokens of the longer exchange of each pair."""
        return [pair.length for pair in self.pairs]

    @property
    def groups(self) -> list[str]:
        """Prompt group of each pair."""
        return [pair.group for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> EncodedPair:
        return self.pairs[row]


def encode_pairs(
    pairs: Sequence[Pair],
    encoder: Encoder,
    conflicts: str = "error",
    say: Callable[[str], None] = print,
) -> tuple[list[Pair], EncodedPairs]:
    """Return the pairs that can be told apart, and their encodings.

    Pairs of a prompt come together, prompts by length, so that batches are tight.
    Raises `DataError` for pairs whose responses come to the same tokens, unless
    `conflicts` is "skip".
    """
    kept: list[Pair] = []
    encoded: list[EncodedPair] = []
    same = 0
    for pair in pairs:
        both = _encode(pair, encoder)
        if both.first.ids == both.second.ids:
            same += 1
        else:
            kept.append(pair)
            encoded.append(both)
    if same:
        verb = "has" if same == 1 else "have"
        message = f"{counted(same)} {verb} two responses of the same tokens"
        if conflicts == "error":
            raise DataError(
                f"{message} within max_length={encoder.max_length}; a longer one may "
                "tell them apart, and --conflicts skip leaves them out"
            )
        say(f"{message}: left out")
    order = _by_group(encoded)
    return [kept[i] for i in order], EncodedPairs([encoded[i] for i in order])


def _by_group(encoded: Sequence[EncodedPair]) -> list[int]:
    longest: dict[str, int] = {}
    for pair in encoded:
        longest[pair.group] = max(pair.length, longest.get(pair.group, 0))
    rows = range(len(encoded))
    return sorted(rows, key=lambda i: (longest[encoded[i].group], encoded[i].group))


def _encode(pair: Pair, encoder: Encoder) -> EncodedPair:
    try:
        first, second = (encoder.encode(pair.prompt, text) for text in pair.responses)
    except TextError as error:
        raise DataError(f"a pair of prompt group {pair.group} {error}") from error
    targets = (pair.p_first, *pair.soft, pair.gap)
    return EncodedPair(first, second, targets, pair.group)


@dataclass(frozen=True, slots=True)
class Collator:
    """Puts the responses of B pairs into one padded batch, each of them once.

    `where` (B, 2) says in which row the cost of either response is found.
    """

    pad: int
    with_types: bool
    with_sides: bool = False

    def __call__(self, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
        """Return the network's inputs, `where`, and the loss's targets (B, 4)."""
        rows: dict[Encoded, int] = {}
        where = [
            [rows.setdefault(row, len(rows)) for row in (pair.first, pair.second)]
            for pair in pairs
        ]
        targets = torch.tensor([pair.targets for pair in pairs], dtype=torch.float32)
        return self.padded(list(rows)) | {
            "where": torch.tensor(where),
            "targets": targets,
        }

    def padded(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """Return ids, mask and, for encoders, segments, padded on the right."""
        width = max(len(row.ids) for row in rows)
        batch = {
            "input_ids": _filled([row.ids for row in rows], width, self.pad),
            "attention_mask": _filled([(1,) * len(row.ids) for row in rows], width, 0),
        }
        if self.with_types:
            batch["token_type_ids"] = _filled([row.types for row in rows], width, 0)
        if self.with_sides:
            batch["sides"] = _filled([row.sides for row in rows], width, -1)
        return batch


def _filled(rows: Sequence[Sequence[int]], width: int, pad: int) -> Tensor:
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


class Grouped(Sampler[int]):
    """A seeded order that keeps groups together, and like lengths beside each other.

    So a response that stands in several pairs of its prompt is read once for all, and
    seen once an epoch. The order depends on seed and epoch alone: a resumed training
    sees what an uninterrupted one would have seen.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch: int,
        seed: int,
        groups: Sequence[str] | None = None,
    ) -> None:
        self.lengths = lengths
        self.batch = batch
        self.seed = seed
        self.epoch = 0
        self.units: list[list[int]] = [[i] for i in range(len(lengths))]
        if groups is not None:
            members: dict[str, list[int]] = {}
            for i, group in enumerate(groups):
                members.setdefault(group, []).append(i)
            self.units = list(members.values())

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of that epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        source = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = self._sorted_in_stretches(source)
        batches = [
            order[at : at + self.batch] for at in range(0, len(order), self.batch)
        ]
        # a short batch stays last: another place would shift all batches after it
        short = [batches.pop()] if batches and len(batches[-1]) < self.batch else []
        shuffle: list[int] = torch.randperm(len(batches), generator=source).tolist()
        for batch in [*(batches[i] for i in shuffle), *short]:
            yield from batch

    def _sorted_in_stretches(self, source: torch.Generator) -> list[int]:
        """Shuffle the units, then sort them by length within stretches of batches."""
        shuffle: list[int] = torch.randperm(len(self.units), generator=source).tolist()
        order: list[int] = []
        stretch: list[list[int]] = []
        for i in shuffle:
            stretch.append(self.units[i])
            if sum(map(len, stretch)) >= self.batch * STRETCH or i == shuffle[-1]:
                stretch.sort(key=lambda unit: -max(self.lengths[row] for row in unit))
                order += [row for unit in stretch for row in unit]
                stretch = []
        return order
