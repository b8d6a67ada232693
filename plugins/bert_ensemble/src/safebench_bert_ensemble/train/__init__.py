"""Training of ensembles of encoders, and of the baselines they have to beat."""
