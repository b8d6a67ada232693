"""A test distribution that misbehaves in every place where it is called, by option."""
