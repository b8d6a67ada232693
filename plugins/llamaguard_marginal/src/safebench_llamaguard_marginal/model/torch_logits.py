"""Summaries of logits in PyTorch, on the device that the logits are on.

The counterpart of `safebench.verdict_tree.summarize_logits`: a vocabulary of logits for
every node stays on the device, and only listed tokens, sums and top logits leave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.verdict_tree import (
    FLOOR_SLACK,
    LOWEST_LOGIT,
    LogitSummary,
    filter_likely,
    merge_listed,
    rows_by_state,
)

if TYPE_CHECKING:
    from safebench.typing import Array
    from safebench.verdict_tree import LogitQuery, TokenTransitions, Vocabulary

# Logits that are handled at once: on a CPU what stays in its cache, elsewhere 512 MiB
# of float64.
_CELLS = {"cpu": 1 << 18}
_CELLS_ON_ACCELERATOR = 1 << 26


class TorchLogitSummarizer:
    """Summarizes logits (Q, V) in numpy arrays or tensors.

    Values equal those of `summarize_logits` up to float64 rounding.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[int, int, str], torch.Tensor] = {}
        self._vocabulary: Vocabulary | None = None

    def __call__(
        self, logits: Any, query: LogitQuery, vocabulary: Vocabulary
    ) -> LogitSummary:
        """Return the summary of logits (Q, V) that `query` asks for."""
        if vocabulary is not self._vocabulary:
            self._vocabulary, self._ids = vocabulary, {}
        with torch.inference_mode():
            return self._summarize(torch.as_tensor(logits), query, vocabulary)

    def _summarize(
        self, z: torch.Tensor, query: LogitQuery, vocabulary: Vocabulary
    ) -> LogitSummary:
        count, width = z.shape
        log_norm, entropy = np.zeros(count), np.zeros(count)
        masses = np.zeros((count, 3))
        likely: list[tuple[Array, Array]] = []
        n_rows = max(1, _CELLS.get(z.device.type, _CELLS_ON_ACCELERATOR) // width)
        # One buffer for all groups: fresh memory costs as much as the arithmetic.
        shape = (2, min(n_rows, count), width)
        scratch = torch.empty(shape, dtype=torch.float64, device=z.device)
        for state, rows in rows_by_state(query.state, n_rows):
            transitions = vocabulary.transitions(state)
            wide, e = scratch[:, : len(rows)]
            wide.copy_(z[_to_device(rows, z)])
            total, sums = _normalise(wide, e)
            log_norm[rows], entropy[rows] = sums
            masses[rows] = self._masses(e, total, state, transitions)
            floor = query.min_probability[rows]
            node, token, p = _likely(e, total, floor)
            node, token = filter_likely(
                (node, token), p, floor, transitions, vocabulary
            )
            likely.append((rows[node], token))
        invalid = ~np.isfinite(log_norm)
        log_norm[invalid], entropy[invalid] = 0.0, 0.0
        argmax, top_ids, top_logits = _greedy(z, query, invalid)
        node, token = merge_listed(likely, argmax, query, invalid, width)
        listed = z[_to_device(node, z), _to_device(token, z)].double().cpu().numpy()
        return LogitSummary(
            log_norm=log_norm,
            entropy=entropy,
            kind_masses=masses,
            argmax=argmax,
            invalid=invalid,
            node=node,
            token=token,
            logp=listed - log_norm[node],
            top_ids=top_ids,
            top_logits=top_logits,
        )

    def _masses(
        self,
        e: torch.Tensor,
        total: torch.Tensor,
        state: int,
        transitions: TokenTransitions,
    ) -> Array:
        """Return the mass of each kind of token, (Q, 3); the largest by difference."""
        masses = np.zeros((len(e), 3))
        for kind, ids in transitions.smaller_kinds:
            key = state, kind, str(e.device)
            if key not in self._ids:
                self._ids[key] = _to_device(ids, e)
            mass = e.index_select(1, self._ids[key]).sum(dim=1) / total
            masses[:, kind] = mass.cpu().numpy()
        largest = np.clip(1.0 - masses.sum(axis=1), 0.0, None)
        masses[:, transitions.largest_kind] = largest
        return masses


def _normalise(z: torch.Tensor, e: torch.Tensor) -> tuple[torch.Tensor, Array]:
    """Set e to exp(z - max) (Q, V); return its sum (Q,), and (logsumexp, entropy).

    `z` is overwritten.
    """
    peak = z.amax(dim=1)
    torch.sub(z, peak[:, None], out=e).exp_()
    total = e.sum(dim=1)  # from 1 to V; NaN where a logit is NaN or infinite
    log_norm = peak + total.log()
    entropy = log_norm - z.clamp_(min=LOWEST_LOGIT).mul_(e).sum(dim=1) / total
    return total, torch.stack([log_norm, entropy]).cpu().numpy()


def _likely(
    e: torch.Tensor, total: torch.Tensor, floor: Array
) -> tuple[Array, Array, Array]:
    """List (row, token) that nearly reach the row's floor, with their e / total."""
    least = torch.from_numpy(floor * FLOOR_SLACK).to(e.device) * total
    flat = _flat_indices(e >= least[:, None])
    node = torch.div(flat, e.shape[1], rounding_mode="floor")
    p = e.flatten()[flat] / total[node]
    token = flat - node * e.shape[1]
    return node.cpu().numpy(), token.cpu().numpy(), p.cpu().numpy()


def _flat_indices(mask: torch.Tensor) -> torch.Tensor:
    """Return the flat indices of what is true; on a CPU numpy is quicker."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def _greedy(
    z: torch.Tensor, query: LogitQuery, invalid: Array
) -> tuple[Array, Array, Array]:
    """Return the likeliest token of greedy rows (Q,), and their top K (G, K)."""
    argmax = np.full(len(z), -1, dtype=np.int64)
    rows = np.nonzero(query.greedy & ~invalid)[0]
    greedy_logits = z[_to_device(rows, z)]
    argmax[rows] = greedy_logits.argmax(dim=1).cpu().numpy()  # the first of equals
    values, ids = greedy_logits.topk(query.top_k, dim=1)
    top_ids, top_logits = ids.cpu().numpy(), values.cpu().numpy()
    # `topk` promises no order among equals: the lower id comes first, as in numpy.
    order = np.lexsort((top_ids, -top_logits), axis=1)
    return (
        argmax,
        np.take_along_axis(top_ids, order, axis=1),
        np.take_along_axis(top_logits, order, axis=1),
    )


def _to_device(array: Array, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).to(like.device)
