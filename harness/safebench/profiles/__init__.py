"""Profiles: what a classifier has to know of one family of guards, as a data file.

A plugin ships a folder of YAML files and says by a frozen dataclass what may stand in
one; a user's own file is read by the same rules.
"""

from __future__ import annotations

from .reference import ProfileFile, profile_names, read_profile
from .section import json_schema, parse_section

__all__ = [
    "ProfileFile",
    "json_schema",
    "parse_section",
    "profile_names",
    "read_profile",
]
