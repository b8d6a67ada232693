"""How this process gets memory for large arrays again: from what it has freed.

glibc maps every block above its threshold (32 MiB at most by itself) anew, and the
system clears each of its pages. The logits of a batch are such blocks: for a small
network that costs as much as the digest of a record.
"""

from __future__ import annotations

import ctypes
import os

# From malloc.h; the names of their variables are those that glibc reads by itself.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_REUSED_BYTES = 128 << 20  # larger blocks are mapped anew, as they were
_KEPT_BYTES = 2 * _REUSED_BYTES  # free memory that is kept: as glibc's own rule has it


def reuse_large_blocks() -> bool:
    """Let the process reuse blocks of up to 128 MiB; tell whether that was possible.

    At most 256 MiB that are free then stay with it. Nothing is changed where the user
    has set glibc's variables, or where there is another C library.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    done = (
        mallopt(_M_MMAP_THRESHOLD, _REUSED_BYTES),
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES),
    )
    return all(done)
