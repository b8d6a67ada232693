"""safebench from Python: runs, stored results and judgements as data frames.

`safebench.run`, `safebench.load_run` and `safebench.judge` are defined here; they do
what the commands do, by the same code, and return frames where those print tables.
"""

from __future__ import annotations
