"""A run: classifiers x strategies x datasets, from a configuration to result rows.

`config` reads what was asked for, `grid` resolves it before any model is imported,
`recording` has evidence of every sample, `judging` reads it by each strategy, and
`rows` and `predictions` say what is stored; `runner` goes through these in order.
"""
