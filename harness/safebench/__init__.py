"""Benchmark any safety classifier x confidence strategy x dataset.

What plugins declare themselves with, and the tools of a run that they share: files,
option files, progress, provenance. The packages below export the rest.
For scripts and notebooks there are `run`, `load_run` and `judge`: what the commands do,
with data frames for tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import forwarding
from .hookspecs import hookimpl
from .lazy import lazy_exports
from .specs import (
    ArtifactSpec,
    CalibratorSpec,
    Capabilities,
    ClassifierSpec,
    DatasetSpec,
    ExecutorSpec,
    GuardProfile,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

if TYPE_CHECKING:
    from .config_file import OptionFile
    from .console import echo
    from .files import lock_folder, write_json, write_jsonl
    from .plugins import Plugins
    from .provenance import differences, provenance_fields
    from .python_api.judging import judge
    from .python_api.loaded_run import LoadedRun, load_run
    from .python_api.running import run
    from .score.batch_judge import BatchJudge

__all__ = [
    "ArtifactSpec",
    "BatchJudge",
    "CalibratorSpec",
    "Capabilities",
    "ClassifierSpec",
    "DatasetSpec",
    "ExecutorSpec",
    "GuardProfile",
    "LoadedRun",
    "MetricSpec",
    "OptionFile",
    "Plugins",
    "ReporterSpec",
    "StrategySpec",
    "TrainerSpec",
    "differences",
    "echo",
    "hookimpl",
    "judge",
    "lazy_exports",
    "load_run",
    "lock_folder",
    "provenance_fields",
    "run",
    "write_json",
    "write_jsonl",
]
forwarding.install()
__version__ = "0.1.0"
__getattr__ = lazy_exports(
    __name__,
    {
        "OptionFile": "config_file",
        "echo": "console",
        "lock_folder": "files",
        "write_json": "files",
        "write_jsonl": "files",
        "Plugins": "plugins",
        "differences": "provenance",
        "provenance_fields": "provenance",
        "judge": "python_api.judging",
        "LoadedRun": "python_api.loaded_run",
        "load_run": "python_api.loaded_run",
        "run": "python_api.running",
        "BatchJudge": "score.batch_judge",
    },
)
