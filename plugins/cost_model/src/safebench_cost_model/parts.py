"""The parts of a training's data, read and tokenised once for all of its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .batches import encode_pairs
from .measures import told
from .pairs import read_pairs

if TYPE_CHECKING:
    from safebench.records import Dataset
    from safebench.training import Training

    from .batches import EncodedPairs
    from .encode import Encoder
    from .measures import Told


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Distinct pairs of a part, as token ids and as what annotators said of them."""

    encoded: EncodedPairs
    truth: Told


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts by what they are for, and how their texts were read."""

    train: Part
    val: Part
    test: Part
    encoder: Encoder

    @property
    def measured(self) -> dict[str, Part]:
        """The parts that costs are computed on, by name."""
        return {"val": self.val, "test": self.test}


def read_parts(training: Training, encoder: Encoder) -> Parts:
    """Return the parts of the data, and say how many pairs each has."""
    datasets = {"train": training.train, "val": training.val, "test": training.test}
    parts = {name: _part(data, encoder, training) for name, data in datasets.items()}
    for name, part in parts.items():
        training.say(f"{name}: {len(part.encoded)} distinct pairs")
    return Parts(**parts, encoder=encoder)


def _part(dataset: Dataset, encoder: Encoder, training: Training) -> Part:
    conflicts = training.options.conflicts
    pairs = read_pairs(dataset, conflicts, training.say)
    kept, encoded = encode_pairs(pairs, encoder, conflicts, training.say)
    return Part(encoded, told(kept))
