"""Certify that a fine-tuned guard may replace the base guard.

`holdout_sets` selects the prompts, `candidates` chooses one guard on the validation
set, `certification` tests it on the untouched calibration set, and `collapse_checks`
warns of a guard that has degenerated. Training imports this package, since validation
during training uses the same cap.
"""
