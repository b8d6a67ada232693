"""The folder of a trained cost model: the names in it, and how they appear.

OUT/model or OUT/adapter holds one network; several stand in OUT/member-1/model and so
on. A folder of weights is there if and only if it is whole.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND = "cost_model"
KIND_TFIDF = "cost_tfidf"
KIND_STACK = "cost_stack"
MODEL_FOLDER = "model"  # all weights, as Hugging Face libraries load them
ADAPTER_FOLDER = "adapter"  # adapters and head, on a base that the manifest names
SFT_FOLDER = "sft"  # the base after the supervised stage
BASELINE_FOLDER = "tfidf"
ENCODER_FOLDER = "encoder"  # of a stack, as it was before and is after the training
STACK_FILE = "stack.npz"
CROSS_FIT_FOLDER = "cross-fit"
CROSS_FIT_FILE = "cross-fit.jsonl"
MEMBER_FILE = "member.json"  # beside a member's weights: its seed and its costs
CHECKPOINT_FOLDER = "checkpoints"
SFT_CHECKPOINT_FOLDER = "sft-checkpoints"


def member_folder_name(number: int, total: int) -> str:
    """Return the folder of a member, within the artifact: one alone needs none."""
    return f"member-{number}" if total > 1 else ""


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write to, which takes the name of `folder` at the end."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a writing that was interrupted
    part.mkdir(parents=True)
    yield part
    part.rename(folder)
