"""A training's splits as encoded pairs, tokenized once for all its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.utils.data

from safebench.errors import DataError
from safebench_cost_model.model.encoding import EncodedPair, TokenizationError

from .evaluation import pair_labels
from .pairs import count_pairs, read_pairs
from .singles import read_training_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.training import Training
    from safebench_cost_model.model.encoding import ExchangeEncoder

    from .evaluation import PairLabels
    from .pairs import PreferencePair
    from .singles import SingleResponse


SINGLES = "singles"  # beside the names of splits


class EncodedPairs(torch.utils.data.Dataset[EncodedPair]):
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
    pairs: Sequence[PreferencePair],
    encoder: ExchangeEncoder,
    conflicts: str = "error",
    say: Callable[[str], None] = print,
) -> tuple[list[PreferencePair], EncodedPairs]:
    """Return the pairs whose responses differ in tokens, and their encodings.

    Pairs of a prompt come together, prompts by length, so that batches are tight.
    Raises `DataError` for pairs whose responses come to the same tokens, unless
    `conflicts` is "skip": no network could rank them.
    """
    kept: list[PreferencePair] = []
    encoded: list[EncodedPair] = []
    for pair in pairs:
        encoded_pair = _encode_pair(pair, encoder)
        # Cut off at max_length, two responses may begin alike: their costs would be one
        # number.
        if encoded_pair.first.ids != encoded_pair.second.ids:
            kept.append(pair)
            encoded.append(encoded_pair)
    if equal := len(pairs) - len(kept):
        verb = "has" if equal == 1 else "have"
        message = f"{count_pairs(equal)} {verb} two responses of the same tokens"
        if conflicts == "error":
            raise DataError(
                f"{message} within max_length={encoder.max_length}; a longer one may "
                "tell them apart, and --conflicts skip leaves them out"
            )
        say(f"{message}: left out")
    order = group_order(encoded)
    return [kept[i] for i in order], EncodedPairs([encoded[i] for i in order])


def group_order(encoded: Sequence[EncodedPair]) -> list[int]:
    """Return row numbers, prompt groups by the length of their longest exchange."""
    longest: dict[str, int] = {}
    for pair in encoded:
        longest[pair.group] = max(pair.length, longest.get(pair.group, 0))
    rows = range(len(encoded))
    # By the name of the group second: those of one length must not be mixed.
    return sorted(rows, key=lambda i: (longest[encoded[i].group], encoded[i].group))


def _encode_pair(pair: PreferencePair, encoder: ExchangeEncoder) -> EncodedPair:
    try:
        first, second = (encoder.encode(pair.prompt, text) for text in pair.responses)
    except TokenizationError as error:
        raise DataError(f"a pair of prompt group {pair.group} {error}") from error
    targets = (pair.p_first, *pair.soft_labels, pair.gap)
    return EncodedPair(first, second, targets, pair.group)


def encode_singles(
    singles: Sequence[SingleResponse], encoder: ExchangeEncoder
) -> list[EncodedPair]:
    """Return responses labelled alone as pairs of themselves, as `PairLoss` has them.

    Raises `DataError` for a text that no tokenizer takes.
    """
    encoded = []
    for single in singles:
        try:
            exchange = encoder.encode(single.prompt, single.response)
        except TokenizationError as error:
            raise DataError(
                f"a response of prompt group {single.group} {error}"
            ) from error
        targets = (float("nan"), single.unsafe, single.unsafe, 0.0)
        encoded.append(EncodedPair(exchange, exchange, targets, single.group))
    return encoded


@dataclass(frozen=True, slots=True, eq=False)
class PairSplit:
    """Distinct pairs of a split, as token ids and as what annotators said of them.

    Among the `encoded` of the training split are responses labelled alone, which
    `pairs` and `labels` do not have.
    """

    encoded: EncodedPairs
    labels: PairLabels
    pairs: Sequence[PreferencePair] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PairSplits:
    """Training, validation and test pairs, and how their texts were encoded.

    `singles` are responses that no network learns from: their costs are asked for.
    """

    train: PairSplit
    val: PairSplit
    test: PairSplit
    encoder: ExchangeEncoder
    singles: EncodedPairs | None = None

    @property
    def evaluated(self) -> dict[str, PairSplit]:
        """The splits that are measured, by name."""
        return {"val": self.val, "test": self.test}

    @property
    def scored(self) -> dict[str, EncodedPairs]:
        """What costs are computed of, by name."""
        encoded = {name: split.encoded for name, split in self.evaluated.items()}
        return encoded if self.singles is None else encoded | {SINGLES: self.singles}


def load_splits(
    training: Training,
    encoder: ExchangeEncoder,
    unseen_singles: Sequence[SingleResponse] = (),
) -> PairSplits:
    """Return the splits of the data, and say how many pairs each has."""
    conflicts = training.options.conflicts
    train, singles = read_training_rows(training)
    rows = {
        "train": train,
        "val": read_pairs(training.val, conflicts, training.say),
        "test": read_pairs(training.test, conflicts, training.say),
    }
    splits: dict[str, PairSplit] = {}
    for name, pairs in rows.items():
        kept, encoded = encode_pairs(pairs, encoder, conflicts, training.say)
        training.say(f"{name}: {len(kept)} distinct pairs")
        if name == "train" and singles:
            encoded = _join(encoded, encode_singles(singles, encoder))
        splits[name] = PairSplit(encoded, pair_labels(kept), kept)
    unseen = encode_singles(unseen_singles, encoder)
    return PairSplits(
        **splits, encoder=encoder, singles=EncodedPairs(unseen) if unseen else None
    )


def _join(pairs: EncodedPairs, singles: Sequence[EncodedPair]) -> EncodedPairs:
    """Return pairs and single responses in one order of groups."""
    rows = [*pairs.pairs, *singles]
    return EncodedPairs([rows[i] for i in group_order(rows)])
