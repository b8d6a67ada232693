"""A strategy on word lengths."""

import numpy as np

from good_guard.evidence import Lengths
from safebench.strategies.base import Judgements


def judge(evidence, context):
    """Return the longest word over forty letters."""
    lengths = evidence[Lengths]
    starts = lengths.offsets["T"][:-1]
    longest = np.maximum.reduceat(lengths["letters"], starts)
    return Judgements(size=len(lengths), score=np.minimum(longest / 40, 1.0))
