"""Steps of the measurement on a GPU: one file each, with a function `measure`."""
