"""The slowest method: one prompt at a time, one `generate` call a tree node.

Every node re-reads the whole prompt; children are visited depth first, by falling
probability, as long as the path has probability `eps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .setting import Setting

Path = tuple[int, ...]


def generate_tree(
    network: Any, setting: Setting, prompt: Sequence[int], eps: float, budget: int
) -> dict[Path, float]:
    """Return P(path) of every node found; the root () is 1.

    Paths have `budget` tokens at most, and a path that has ended has no children. At
    eps 0 every token of probability above 0 is followed.
    """
    probabilities: dict[Path, float] = {(): 1.0}

    def visit(path: Path, mass: float) -> None:
        p = _next_token(network, setting, (*prompt, *path))
        children = mass * p
        likely = torch.nonzero((children >= eps) & (p > 0))[:, 0]
        for token in likely[children[likely].argsort(descending=True)].tolist():
            longer = (*path, token)
            probabilities[longer] = float(children[token])
            if token not in setting.eos and len(longer) < budget:
                visit(longer, probabilities[longer])

    visit((), 1.0)
    return probabilities


def count_expanded(tree: dict[Path, float], setting: Setting, budget: int) -> int:
    """Count the nodes of a tree that took a `generate` call."""
    ends = setting.eos
    return sum(len(p) < budget and (not p or p[-1] not in ends) for p in tree)


def _next_token(network: Any, setting: Setting, ids: Sequence[int]) -> torch.Tensor:
    """Return the distribution after `ids`, (V,) in float64, from one `generate`."""
    tokens = torch.tensor([list(ids)], device=setting.device)
    out = network.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=setting.pad,
    )
    return torch.softmax(out.logits[0][0].double(), dim=-1).cpu()
