"""The verdict-tree engine: grammar, level loop, bounds. numpy only, no model code."""

ENGINE_VERSION = 2  # part of every evidence key: raise it when recorded values change
