"""The growing trees of a batch of prompts, and their packing into evidence."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from safebench.evidence import VerdictTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .digest import Digest

    Array = np.ndarray[Any, np.dtype[Any]]

GREEDY, FORCED, MALFORMED, OPENS, START = 1, 2, 4, 8, 16  # bits of `flags`
LIVE, EXPANDED, ENDED = 0, 1, 2  # values of `status`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Columns over some nodes of all prompts' trees; (N,) each.

    `row` is the prompt, `index` the number of the node over all prompts, `parent` that
    of its parent, `handle` that of the parent in the session. `logp` is conditional,
    `path` unconditional; `depth` counts tokens from the root; `script` is the place in
    `Scripts`. The others are as in `VerdictTree`.
    """

    row: Array
    index: Array
    parent: Array
    handle: Array
    token: Array
    logp: Array
    path: Array
    depth: Array
    script: Array
    state: Array
    level: Array
    label: Array
    mask: Array
    slot: Array
    flags: Array
    ended: Array

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Array) -> Self:
        """Return the nodes `rows`, indices or a mask."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the nodes of all `parts`, in order."""
        names = [field.name for field in fields(cls)]
        return cls(
            **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
        )

    def has(self, flag: int) -> Array:
        """Say of each node whether a flag is set."""
        return (self.flags & flag) > 0


def roots(
    count: int, script: int, *, opener: bool, row: int = 0, index: int = 0
) -> Nodes:
    """Return the roots of `count` trees; `opener`: a level may start at once.

    Prompts are numbered from `row` on, nodes from `index` on.
    """
    zero, none = np.zeros(count, dtype=np.int64), np.full(count, -1)
    return Nodes(
        row=row + np.arange(count),
        index=index + np.arange(count),
        parent=none,
        handle=none,
        token=none,
        logp=zero.astype(np.float64),
        path=zero.astype(np.float64),
        depth=zero,
        script=np.full(count, script),
        state=zero,
        level=none,
        label=none,
        mask=zero.astype(np.uint64),
        slot=zero,
        flags=np.full(count, GREEDY | FORCED | (OPENS if opener else 0)),
        ended=zero > 0,
    )


class Forest:
    """All nodes found so far, and what was read at the expanded ones."""

    def __init__(self) -> None:
        self.batch = 0
        self.size = 0
        self._nodes: list[Nodes] = []
        self._index: list[Array] = []
        self._expanded: list[dict[str, Array]] = []
        self._greedy: list[tuple[Array, Array, Array]] = []

    def admit(self, start: Nodes) -> None:
        """Store the roots of more trees."""
        self.batch += len(start)
        self.size += len(start)
        self._nodes.append(start)

    def add(self, wave: Nodes, split: Array, digest: Digest, children: Nodes) -> None:
        """Store the expansion of `wave`: `split` (Q, 3) is its stop, closed, rest."""
        good = ~digest.bad
        self.size += len(children)
        self._nodes.append(children)
        self._index.append(wave.index[good])
        self._expanded.append(
            {
                "stop": split[good, 0],
                "closed": split[good, 1],
                "rest": split[good, 2],
                "log_norm": digest.log_norm[good],
                "entropy": digest.entropy[good],
            }
        )
        greedy = wave.has(GREEDY)
        index, kept = wave.index[greedy], good[greedy]
        self._greedy.append((index[kept], digest.top_ids, digest.top_logits))

    def greedy_tokens(self) -> list[list[int]]:
        """Return the tokens of every prompt's greedy path, EOS included."""
        out: list[list[int]] = [[] for _ in range(self.batch)]
        for nodes in self._nodes:
            greedy = nodes.take(nodes.has(GREEDY) & (nodes.parent >= 0))
            for row, token in zip(greedy.row, greedy.token, strict=True):
                out[row].append(int(token))
        return out

    def expansions(self) -> Array:
        """Count the expanded nodes of every prompt."""
        rows = np.concatenate([nodes.row for nodes in self._nodes])
        return np.bincount(rows[np.concatenate(self._index)], minlength=self.batch)

    def pack(
        self, meta: Mapping[str, Any], pending: Array, failed: Sequence[int]
    ) -> VerdictTree:
        """Return the trees as evidence; of `failed` prompts, the bare root.

        `pending` (S,) is the trie node of each automaton state.
        """
        nodes = Nodes.join(self._nodes)
        expanded = np.concatenate(self._index)
        greedy = np.concatenate([index for index, _, _ in self._greedy])
        fine, row = ~np.isin(nodes.row, failed), nodes.row
        status = np.where(nodes.ended, ENDED, LIVE)
        status[expanded[fine[expanded]]] = EXPANDED
        order = np.argsort(row, kind="stable")
        order = order[fine[order] | (nodes.parent[order] < 0)]
        kept = nodes.take(order)
        offsets = _offsets(kept.row, self.batch)
        place = np.zeros(len(row), dtype=np.int64)  # within the sample
        place[order] = np.arange(len(order)) - offsets[kept.row]
        wide = _sorted(expanded, fine, row, place)
        path = _sorted(greedy, fine, row, place)
        return VerdictTree(
            {
                "parent": np.where(kept.parent < 0, -1, place[kept.parent]),
                "token": kept.token,
                "logp": kept.logp,
                "state": kept.state,
                "level": kept.level,
                "label": kept.label,
                "labels_mask": kept.mask,
                "slot": kept.slot,
                "pending": pending[kept.state],
                "flags": kept.flags,
                "status": status[order],
                "node": place[expanded[wide]],
                **{name: self._column(name)[wide] for name in self._expanded[0]},
                "greedy_node": place[greedy[path]],
                "top_ids": np.concatenate([ids for _, ids, _ in self._greedy])[path],
                "top_logits": np.concatenate([z for _, _, z in self._greedy])[path],
            },
            offsets={
                "N": offsets,
                "E": _offsets(row[expanded[wide]], self.batch),
                "G": _offsets(row[greedy[path]], self.batch),
            },
            meta=meta,
            size=self.batch,
        )

    def _column(self, name: str) -> Array:
        return np.concatenate([wave[name] for wave in self._expanded])


def _sorted(index: Array, fine: Array, row: Array, place: Array) -> Array:
    """Return where in `index` the fine nodes are, by row and place."""
    at = np.nonzero(fine[index])[0]
    ordered: Array = at[np.lexsort((place[index[at]], row[index[at]]))]
    return ordered


def _offsets(rows: Array, batch: int) -> Array:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=batch))))
