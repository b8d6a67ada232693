"""Where a guard runs: in a network of this process, or in an engine that serves it.

`catalog` names the engines, without importing one. An engine is a function from
options and a guard's files to a `served_guard.ServedModel`; nothing else knows it.
"""
