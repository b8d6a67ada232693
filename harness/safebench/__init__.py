"""Benchmark any safety classifier x confidence strategy x dataset.

What plugins declare themselves with, and the tools of a run that they share: files,
option files, progress, provenance. The packages below export the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import forwarding
from .hookspecs import hookimpl
from .lazy import lazy_exports
from .specs import (
    ClassifierSpec,
    DatasetSpec,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

if TYPE_CHECKING:
    from .config_file import (
        merge_flags,
        option_keys,
        parse_key_values,
        read_yaml_mapping,
    )
    from .console import echo
    from .files import atomic_write, lock_folder, write_json, write_jsonl
    from .plugins import Plugins
    from .progress import progress_bar
    from .provenance import differences, package_versions, source_commit

__all__ = [
    "ClassifierSpec",
    "DatasetSpec",
    "MetricSpec",
    "Plugins",
    "ReporterSpec",
    "StrategySpec",
    "TrainerSpec",
    "atomic_write",
    "differences",
    "echo",
    "hookimpl",
    "lazy_exports",
    "lock_folder",
    "merge_flags",
    "option_keys",
    "package_versions",
    "parse_key_values",
    "progress_bar",
    "read_yaml_mapping",
    "source_commit",
    "write_json",
    "write_jsonl",
]
forwarding.install()
__version__ = "0.1.0"
__getattr__ = lazy_exports(
    __name__,
    {
        "Plugins": "plugins",
        "atomic_write": "files",
        "differences": "provenance",
        "echo": "console",
        "lock_folder": "files",
        "merge_flags": "config_file",
        "option_keys": "config_file",
        "package_versions": "provenance",
        "parse_key_values": "config_file",
        "progress_bar": "progress",
        "read_yaml_mapping": "config_file",
        "source_commit": "provenance",
        "write_json": "files",
        "write_jsonl": "files",
    },
)
