"""A plugin that declares well what it cannot import."""
