"""Register the command group `feedback` and what it leaves, without torch or numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench import ArtifactSpec, hookimpl

from .commands import feedback_group

if TYPE_CHECKING:
    import click


@hookimpl
def safebench_artifacts() -> list[ArtifactSpec]:
    """Say what an adapter of a guard is, for its card and for sharing it."""
    return [
        ArtifactSpec(
            name="feedback_finetune",
            summary="an adapter that a guard learnt from what it let through",
            load="safebench_feedback_finetune.artifact:describe",
        )
    ]


@hookimpl
def safebench_commands(cli: click.Group) -> None:
    """Add the command group `feedback`."""
    cli.add_command(feedback_group)
