"""Pictures of an analysis, with matplotlib: an optional extra of the package."""
