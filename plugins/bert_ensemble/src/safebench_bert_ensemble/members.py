"""Members trained one after another in this process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .member import fit_member, padding, tokenise
from .sampling import LengthBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .job import Job
    from .member import Tokens
    from .watching import Counter


def fit_members(
    job: Job,
    members: Sequence[int],
    say: Callable[[str], None],
    bar: Counter | None = None,
) -> None:
    """Train members one after another; rows are tokenised once a base."""
    known: dict[str, Tokens] = {}
    for member in members:
        base = job.bases[member]
        if base.label not in known:
            known[base.label] = tokenise(job, base)
            share = padding(job, known[base.label])
            say(
                f"{base.label}: padding is {share['train']:.1%} of the tokens in "
                f"training batches, {share['val']:.1%} in validation batches"
            )
        fit_member(job, member, known[base.label], say, bar)


def steps(job: Job) -> int:
    """Return how many steps a member takes that does not stop early."""
    given, options = job.arguments, job.options
    if given.get("max_steps", 0) > 0:
        return int(given["max_steps"])
    epochs: float = given.get("num_train_epochs", options.epochs)
    size = given.get("per_device_train_batch_size", options.batch_size)
    together: int = given.get("gradient_accumulation_steps", options.grad_accumulation)
    batches = len(LengthBatches(job.train.labels, size, 0))
    return math.ceil(epochs * math.ceil(batches / together))
