"""A test distribution: unknown_word."""
