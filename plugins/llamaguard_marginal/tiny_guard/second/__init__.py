"""The second embedded guard: cross-fitted teachers, and students of the first guard."""
