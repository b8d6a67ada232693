"""What the main process of a launched group tells the others.

It alone reads data, scores prompts and writes files: decisions are then the same in all
processes, even where their arithmetic differs in the last digit.
"""

from __future__ import annotations

from typing import Any

import torch


def share(value: Any) -> Any:
    """Return the main process's value in all of them; each has to call this.

    Values are pickled by the launcher's own processes, for each other.
    """
    # Started by the library's own arguments, which are checked first.
    if not torch.distributed.is_initialized():
        return value
    import accelerate

    values = [value]
    accelerate.utils.broadcast_object_list(values, from_process=0)
    return values[0]
