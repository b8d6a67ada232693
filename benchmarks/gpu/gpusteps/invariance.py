"""How far results move with the size of the batch that a prompt is in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from guardspeed.precision import difference, judge

if TYPE_CHECKING:
    from guardspeed.setting import Setting

    from .setup import Setup

    Judged = tuple[Any, list[tuple[int, ...]]]  # judgements, greedy verdicts


def measure(setup: Setup) -> dict[str, Any]:
    """Return what differs from one batch of all prompts, by rows of a batch.

    One row a batch is slow: the first prompts alone are read so.
    """
    setting = setup.guard(256)
    sizes = {64: 256, 8: 256, 1: 24} if not setup.dry else {1: 1}
    whole = judge(_in_batches(setting, len(setting.prompts)))
    return {
        "dtype": str(setting.network.dtype).removeprefix("torch."),
        "prompts": len(setting.prompts),
        "again_in_one_batch": _compare(
            whole, judge(_in_batches(setting, len(setting.prompts)))
        ),
        "by_rows": {
            str(rows): _compare(
                whole,
                judge(
                    _in_batches(replace(setting, prompts=setting.prompts[:few]), rows)
                ),
            )
            for rows, few in sizes.items()
        },
    }


def _in_batches(setting: Setting, rows: int) -> Setting:
    """Return the same prompts with a budget that makes batches of about `rows`."""
    longest = max(map(len, setting.prompts))
    return replace(setting, batch_tokens=1 if rows == 1 else rows * longest)


def _compare(whole: Judged, other: Judged) -> dict[str, Any]:
    (a, a_verdicts), (b, b_verdicts) = whole, other
    few = len(b_verdicts)
    verdicts = [x != y for x, y in zip(a_verdicts[:few], b_verdicts, strict=True)]
    return {
        "score": difference(a.score[:few], b.score),
        "categories": difference(a.categories[:few], b.categories),
        "greedy_verdicts_that_differ": float(np.mean(verdicts)),
    }
