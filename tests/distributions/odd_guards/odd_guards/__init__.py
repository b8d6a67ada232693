"""Guards that behave as badly, or as unusually, as the contract allows."""
