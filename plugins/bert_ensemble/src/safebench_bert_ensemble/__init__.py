"""Ensembles of encoders: the classifier and trainer `bert_ensemble`, and baselines."""
