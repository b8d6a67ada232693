"""Training of cost models, and of the baseline they have to beat, on pairs."""
