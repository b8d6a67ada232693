"""Evidence recorded by the actors of a Ray cluster, a model each."""
