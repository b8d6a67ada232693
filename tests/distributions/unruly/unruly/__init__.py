"""Guards and strategies that misbehave, each in one way."""
