"""Fine-tune a guard on the prompts that it missed, and certify it before it is used.

The stages are sub-packages, in the order in which data flows: `collect`, `certify`
(used while training), `train` and `evaluate`. `commands` has the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench import lazy_exports

if TYPE_CHECKING:
    from safebench_feedback_finetune.train.adapters import (
        scale_adapter,
        write_scaled_adapter,
    )

    from .scorer import VerdictScorer, load_scorer

__all__ = ["VerdictScorer", "load_scorer", "scale_adapter", "write_scaled_adapter"]

# Lazy: these need torch, and every command imports this package to find its plugin.
__getattr__ = lazy_exports(
    __name__,
    {
        "VerdictScorer": "scorer",
        "load_scorer": "scorer",
        "scale_adapter": "train.adapters",
        "write_scaled_adapter": "train.adapters",
    },
)
