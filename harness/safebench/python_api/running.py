"""`safebench.run`: the run of ``safebench run``, returned as data frames."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from safebench.console import echo
from safebench.redaction import redact_secrets

from .calls import errors_for_callers, installed_plugins, one_at_a_time
from .frames import check_library
from .loaded_run import LoadedRun, load_run
from .run_options import check_keywords, flag, make_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import polars as pl

    from safebench.pipeline.config import RunConfig
    from safebench.pipeline.run_summary import RunSummary

    from .frames import Frames
    from .run_options import Components, FilePath, RunOptions

_SWITCHES = ("refresh", "retry_failed")


@overload
def run(
    classifiers: Components = ...,
    strategies: Components = ...,
    datasets: FilePath | Sequence[FilePath] = ...,
    *,
    progress: bool = ...,
    frames: Literal["pandas"] = ...,
    **options: Unpack[RunOptions],
) -> LoadedRun[pd.DataFrame]: ...
@overload
def run(
    classifiers: Components = ...,
    strategies: Components = ...,
    datasets: FilePath | Sequence[FilePath] = ...,
    *,
    progress: bool = ...,
    frames: Literal["polars"],
    **options: Unpack[RunOptions],
) -> LoadedRun[pl.DataFrame]: ...


def run(
    classifiers: Components = (),
    strategies: Components = (),
    datasets: FilePath | Sequence[FilePath] = (),
    *,
    progress: bool = False,
    frames: Frames = "pandas",
    **options: Any,
) -> LoadedRun[Any]:
    """Run classifiers x strategies x datasets, and return the run's data frames.

    Keywords are the flags of ``safebench run`` (`RunOptions` lists them), with the same
    defaults; a component is ``"llamaguard,model=DIR"`` or ``{"name": "llamaguard",
    "options": {"model": "DIR"}}``. What the folder holds already is not computed again,
    and its other results are in the frames, too. Without `out` it is ``runs/NAME`` as
    of the command; ``out=None`` keeps nothing: a temporary folder, removed with the
    object that is returned.

    Nothing is printed unless `progress`. A part of the run that failed, and more failed
    samples than `max_failures`, are warnings, and so are the frames' notes; a run of
    which nothing came to an end raises. Threads may call it: runs take turns.

    Raises `safebench.errors.SafebenchError` for whatever the command would refuse.
    """
    check_library(frames)
    with errors_for_callers():
        given = {
            "classifiers": classifiers,
            "strategies": strategies,
            "datasets": datasets,
            **options,
        }
        given = {name: v for name, v in given.items() if not _is_empty(v)}
        temporary = "out" in options and options["out"] is None
        return _run(given, progress=progress, frames=frames, temporary=temporary)


def _is_empty(value: Any) -> bool:
    return isinstance(value, tuple | list | Mapping) and not value


def _run(
    given: dict[str, Any], *, progress: bool, frames: Frames, temporary: bool
) -> LoadedRun[Any]:
    from dataclasses import fields, replace

    from safebench.pipeline.config import RunConfig

    known = (*(f.name for f in fields(RunConfig)), *_SWITCHES, "config")
    check_keywords(given, (*known, "progress", "frames"))
    words = [f"{name}={_word(name, value)}" for name, value in given.items()]
    switches = {name: flag(name, given.pop(name, False)) for name in _SWITCHES}
    config = make_config(given, given.pop("config", None))
    folder = tempfile.mkdtemp(prefix="safebench-") if temporary else None
    try:
        if folder:
            config = replace(config, out=folder)
        with one_at_a_time():
            summary = _execute(config, words, progress=progress, **switches)
        _warn(summary)
        loaded = load_run(summary.folder, frames=frames)
    except BaseException:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder:
        weakref.finalize(loaded, shutil.rmtree, folder, ignore_errors=True)
    assert isinstance(loaded, LoadedRun)
    return loaded


def _execute(
    config: RunConfig, words: list[str], *, progress: bool, **switches: bool
) -> RunSummary:
    from safebench.pipeline.runner import Runner

    def log(line: str) -> None:
        if progress:
            echo(line, err=True)

    runner = Runner(
        config,
        installed_plugins(),
        log,
        show_progress=progress,
        command=["safebench.run", *words],
        **switches,
    )
    return runner.run()


def _word(name: str, value: Any) -> str:
    """Return a keyword's value for the manifest, which says how a run was asked for."""
    return json.dumps(redact_secrets({name: value})[name], default=str)


def _warn(summary: RunSummary) -> None:
    """Warn of what makes the command exit with 1: the rest of the run is there."""
    lines = [f"failed: {error.message}" for error in summary.errors]
    if summary.failure_limit_exceeded:
        lines += ["more samples failed than max_failures allows", *summary.failures]
    for line in lines:
        warnings.warn(line, stacklevel=4)
