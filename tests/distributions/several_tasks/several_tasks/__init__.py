"""A test distribution: a guard that answers several tasks, from one pass or several."""
