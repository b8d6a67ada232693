"""Collect what a guard lets through, and prepare it for training.

`collection_loop` runs `feedback collect`: input guard, language model, output guard.
`collection_folder` keeps the records, `prompts` and `splits` make of them what the
later stages read.
"""
