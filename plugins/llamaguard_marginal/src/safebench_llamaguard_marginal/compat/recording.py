"""Records the seed's own search over many prompts, for `compat=seed`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from safebench.classifiers import Recording, Trace
from safebench.evidence import SeedTree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench_llamaguard_marginal.asking import Asked
    from safebench_llamaguard_marginal.batching import Batcher
    from safebench_llamaguard_marginal.tokens import Fitted

    from .search import SeedSearch

NO_MEMORY = "out of memory, even alone in its batch"


def record_searches(
    search: SeedSearch,
    asked: Sequence[Asked],
    batcher: Batcher,
    tick: Callable[[int], None],
) -> Recording:
    """Return the seed's search for every sample; the first window of a long one."""
    places = [i for i, one in enumerate(asked) if one.prompts]
    prompts = [asked[i].prompts[0].ids for i in places]
    tick(len(asked) - len(places))
    traces = [Trace(error=one.error) for one in asked]
    trees, rows = [blank(search)], np.zeros(len(asked), dtype=np.int64)
    at, since, calls = 1, time.perf_counter(), search.forward_calls
    for batch, found in batcher.run(
        list(map(len, prompts)), lambda some: search.record([prompts[i] for i in some])
    ):
        trees.append(found or SeedTree.concat([blank(search)] * len(batch)))
        spent = (time.perf_counter() - since) / len(batch)
        passes = (search.forward_calls - calls) / len(batch)
        for offset, index in enumerate(batch):
            rows[places[index]] = at + offset
            trace = _trace(search, asked[places[index]].prompts[0], found, offset)
            trace.seconds, trace.forward_passes = spent, passes
            traces[places[index]] = trace
        at, since, calls = at + len(batch), time.perf_counter(), search.forward_calls
        tick(len(batch))
    return Recording(
        evidence={SeedTree: SeedTree.concat(trees).take(rows)}, traces=traces
    )


def _trace(
    search: SeedSearch, prompt: Fitted, found: SeedTree | None, row: int
) -> Trace:
    """Return what one search took and said: nodes, the greedy verdict, forced words."""
    trace = Trace(
        tokens_in=len(prompt.ids),
        tokens_dropped=prompt.dropped,
        dropped_side=prompt.side,
    )
    if found is None:
        trace.error = NO_MEMORY
        return trace
    one = found.take([row])
    said = one["said"].tolist()
    nodes = int(one["expanded"].sum()) - 1  # the root is the prompt's last token
    trace.tokens_out = nodes + len(said) + len(search.forced_tokens)
    trace.raw = search.text(said)
    return trace


def blank(search: SeedSearch) -> SeedTree:
    """Return a search that found nothing: what stands for a sample that failed."""
    return SeedTree(
        {
            "parent": [-1],
            "token": [-1],
            "mass": [1.0],
            "ends": [0],
            "expanded": [False],
            "said": [],
            "p": [],
            "said_ends": [],
            "label_logits": np.full((1, search.labels), np.nan),
        },
        offsets={"N": [0, 1], "T": [0, 0]},
        meta=search.meta,
        size=1,
    )
