"""Summaries of logits in PyTorch, on the device that the logits are on.

A vocabulary of logits for every node stays on the device, and only listed tokens, sums
and top logits leave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.verdict_tree import LogitSummarizer

if TYPE_CHECKING:
    from safebench.typing import Array

# Logits that are handled at once on an accelerator: 512 MiB of float64. On a CPU it is
# what the base class says, which stays in its cache.
_LOGITS_ON_ACCELERATOR = 1 << 26


class TorchLogitSummarizer(LogitSummarizer):
    """Summarizes logits (Q, V) in numpy arrays or tensors.

    Values equal those of the base class up to float64 rounding.
    """

    def __init__(self) -> None:
        # The array is kept with its copy: ids of objects are used again.
        self._on_device: dict[tuple[int, str], tuple[Array, torch.Tensor]] = {}

    def computing(self) -> Any:
        """Return the context in which no gradients are kept."""
        return torch.inference_mode()

    def as_array(self, logits: Any) -> torch.Tensor:
        """Return logits as a tensor, where they are."""
        return torch.as_tensor(logits)

    def logits_at_once(self, logits: torch.Tensor) -> int:
        """Return how many logits are held in float64 at once."""
        if logits.device.type == "cpu":
            return super().logits_at_once(logits)
        return _LOGITS_ON_ACCELERATOR

    def empty(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Return a tensor of float64 without values, where `like` is."""
        return torch.empty(shape, dtype=torch.float64, device=like.device)

    def normalise(
        self, logits: torch.Tensor, rows: Array, scratch: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Array, Array]:
        """Return exp(z - max z), its sums, and the logsumexp and entropy of each row.

        As the base class; the last two leave the device in one transfer.
        """
        z, e = scratch
        z.copy_(logits[_to_device(rows, logits)])
        peak = z.amax(dim=1)
        torch.sub(z, peak[:, None], out=e).exp_()
        total = e.sum(dim=1)
        log_norm = peak + total.log()
        entropy = log_norm - z.clamp_(min=self.lowest_logit).mul_(e).sum(dim=1) / total
        values = torch.stack([log_norm, entropy]).cpu().numpy()
        return e, total, values[0], values[1]

    def mass(self, e: torch.Tensor, total: torch.Tensor, ids: Array) -> Array:
        """Return the probability of the tokens `ids` in each row, (R,)."""
        key = id(ids), str(e.device)
        if key not in self._on_device:  # copied once: they are the same for every row
            self._on_device[key] = ids, _to_device(ids, e)
        mass = e.index_select(1, self._on_device[key][1]).sum(dim=1) / total
        return mass.cpu().numpy()

    def likely(
        self, e: torch.Tensor, total: torch.Tensor, least: Array
    ) -> tuple[Array, Array, Array]:
        """Return row, token and probability where it reaches the row's `least`."""
        reached = e >= (torch.from_numpy(least).to(e.device) * total)[:, None]
        flat = _flat_indices(reached)
        node = torch.div(flat, e.shape[1], rounding_mode="floor")
        p = e.flatten()[flat] / total[node]
        token = flat - node * e.shape[1]
        return node.cpu().numpy(), token.cpu().numpy(), p.cpu().numpy()

    def values(self, logits: torch.Tensor, node: Array, token: Array) -> Array:
        """Return single logits in float64, (n,)."""
        chosen = logits[_to_device(node, logits), _to_device(token, logits)]
        return chosen.double().cpu().numpy()

    def largest(
        self, logits: torch.Tensor, rows: Array, count: int
    ) -> tuple[Array, Array, Array]:
        """Return of some rows the likeliest token, and the `count` largest logits."""
        z = logits[_to_device(rows, logits)]
        argmax = z.argmax(dim=1).cpu().numpy()  # the first of equals
        values, ids = z.topk(count, dim=1)
        # NumPy has no bfloat16.
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        top_ids, top_logits = ids.cpu().numpy(), wide.cpu().numpy()
        # `topk` promises no order among equals: the lower id comes first, as in numpy.
        order = np.lexsort((top_ids, -top_logits), axis=1)
        return (
            argmax,
            np.take_along_axis(top_ids, order, axis=1),
            np.take_along_axis(top_logits, order, axis=1),
        )


def _flat_indices(mask: torch.Tensor) -> torch.Tensor:
    """Return the flat indices of what is true; on a CPU numpy is quicker."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def _to_device(array: Array, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).to(like.device)
