"""The texts that a guard wrote, and the verdict that was read from one of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Self

from safebench.evidence import Evidence, VerdictTree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

_PACKAGE = __package__
FINISHES = ("unknown", "stop", "length", "filter")
UNKNOWN, STOP, LENGTH, FILTER = range(4)


class VerdictTexts(Evidence):
    """Texts that a guard wrote about each sample, and what was read in them.

    Dims: A answers, of each sample one behind the other, the greedy one first; X bytes.
    `text` are the texts as UTF-8, `length` the bytes of each. `finish` is why the
    server stopped (an index of `FINISHES`), `tokens` what it counted (-1: unknown).
    `level`, `labels_mask` and `malformed` are what the grammar reads: -1 is no level,
    bits are labels as in `VerdictTree`, and malformed says that other text follows.
    `sample` is 0 for the greedy answer and the number of a sampled one; without it the
    greedy answer alone was asked for.

    `meta`: ``grammar``, ``policy``, token budget ``D``, ``samples`` (k), and where k is
    not 0 ``temperature`` and ``seeds`` (whether each sample had a seed of its own).
    ``questions`` are several that were asked about each sample, as of `VerdictTree`:
    as many answers to one as to the other, one question behind the other.
    """

    kind_id = "safebench_llamaguard_marginal.VerdictTexts"
    unread = f"{_PACKAGE}.verdicts:unread_texts"
    unanswered = f"{_PACKAGE}.verdicts:unanswered_texts"
    SCHEMA = {
        "text": ("u8", "X"),
        "length": ("i32", "A"),
        "finish": ("u8", "A"),
        "tokens": ("i32", "A"),
        "level": ("i8", "A"),
        "labels_mask": ("u64", "A"),
        "malformed": ("bool", "A"),
        "sample": ("i32", "A"),
    }
    OPTIONAL = frozenset({"sample"})

    @property
    def questions(self) -> tuple[str, ...]:
        """The questions that were asked about each sample; empty for one."""
        return tuple(self.meta.get("questions", ()))

    def unfold(self) -> Self:
        """Return the answers to every question as a sample of their own."""
        import numpy as np

        if not (n_questions := len(self.questions)):
            return self
        answers = np.repeat(np.diff(self.offsets["A"]) // n_questions, n_questions)
        rows = np.concatenate(([0], np.cumsum(answers)))
        ends = np.concatenate(([0], np.cumsum(self["length"], dtype=np.int64)))
        return type(self)(
            self.arrays,
            offsets={"A": rows, "X": ends[rows]},
            meta={k: v for k, v in self.meta.items() if k != "questions"},
            size=len(self) * n_questions,
        )

    def texts(self) -> list[list[str]]:
        """Return the texts about each sample, the greedy one first."""
        content = self["text"].tobytes()
        ends = self["length"].cumsum().tolist()
        flat = [
            content[end - length : end].decode(errors="replace")
            for end, length in zip(ends, self["length"].tolist(), strict=True)
        ]
        rows = self.offsets["A"].tolist()
        return [flat[a:b] for a, b in pairwise(rows)]

    @property
    def greedy_rows(self) -> Array:
        """Where the greedy answer of each sample is, (B,), -1 where there is none."""
        import numpy as np

        first, after = self.offsets["A"][:-1], self.offsets["A"][1:]
        rows: Array = np.where(after > first, first, -1)
        return rows


class GreedyVerdict(Evidence):
    """The verdict that a guard wrote, greedily: of a tree, or of a text.

    Never stored. `level` is -1 where none was read, `labels_mask` has the labels as
    bits, `unread_labels` says that a level takes labels and none could be read. `p` is
    the probability of the verdict, where it is known, and `goes_on` says where texts
    are that other text follows it, which is not read. `failures` of the texts that were
    written says of each sample why no level was read, None where one was.

    `meta`: ``grammar``.
    """

    SCHEMA = {
        "level": ("i8", "B"),
        "labels_mask": ("u64", "B"),
        "unread_labels": ("bool", "B"),
        "p": ("f64", "B"),
        "goes_on": ("bool", "B"),
    }
    OPTIONAL = frozenset({"p", "goes_on"})
    derived_from = {
        VerdictTree: f"{_PACKAGE}.verdicts:verdict_of_tree",
        VerdictTexts: f"{_PACKAGE}.verdicts:verdict_of_text",
    }
    failures: Callable[[Sequence[str | None]], list[str | None]]
