"""`push DIR ORG/NAME`: share what was trained on the Hugging Face hub."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from safebench.console import echo

from . import flags
from .execution import exit_after

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.training.sharing import SharedFiles

EPILOG = """\b
Examples:
  safebench push models/mine my-org/guard --dry-run
  safebench push models/mine my-org/guard --private
  safebench push improved my-org/adapter --base my-org/my-guard --update
"""
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000  # bytes, as the hub counts


@click.command("push", epilog=EPILOG)
@click.argument("folder", metavar="DIR")
@click.argument("name", metavar="ORG/NAME")
@click.option(
    "--public/--private",
    default=False,
    help="Let everybody see it, or those alone who may [default: --private].",
)
@click.option(
    "--dry-run", is_flag=True, help="List what would be sent, and send nothing."
)
@click.option(
    "--revision", metavar="BRANCH", help="The branch to push to [default: main]."
)
@click.option(
    "--update",
    is_flag=True,
    help="Replace what ORG/NAME holds; files that are not sent are removed there.",
)
@click.option(
    "--base",
    metavar="ORG/NAME",
    help="Where others find the base, if the training knew a folder.",
)
@click.option(
    "--allow-rejected",
    is_flag=True,
    help="Share an adapter that its gate rejected; its card says so.",
)
@flags.DEBUG
@click.pass_obj
def command(
    plugins: Plugins,
    *,
    folder: str,
    name: str,
    public: bool,
    dry_run: bool,
    revision: str | None,
    update: bool,
    base: str | None,
    allow_rejected: bool,
    debug: bool,
) -> None:
    """Share a trained model on the Hugging Face hub: private, unless you say --public.

    Only files that loading needs are sent, with a model card; texts, scores of rows,
    logs, optimizer states and paths of this machine are not. The rest is loaded by
    name: safebench run -c bert_ensemble --model ORG/NAME.
    """

    def work() -> int:
        from safebench.training.artifact import Artifact
        from safebench.training.hub_upload import (
            HubUpload,
            check_branch,
            check_repo_name,
        )
        from safebench.training.sharing import select_files

        check_repo_name(name)
        if base:
            check_repo_name(base)
        if revision:
            check_branch(revision)
        artifact = Artifact(folder).describe(plugins)
        selection = select_files(
            artifact, plugins, name, base=base or "", allow_rejected=allow_rejected
        )
        where = f"{name} ({'public' if public else 'private'})"
        _show(selection, where + (f", branch {revision}" if revision else ""))
        if dry_run:
            echo("nothing was sent (--dry-run)")
            return 0
        upload = HubUpload(name, revision or "", partial(echo, err=True))
        pushed = upload.push(selection.files, public=public, update=update)
        if not pushed.changed:
            echo(f"it is there already: {pushed.url} at {pushed.commit}")
            return 0
        echo(f"pushed: {pushed.url} at {pushed.commit}")
        return 0

    exit_after(
        work,
        debug=debug,
        interrupt_notice="interrupted: nothing of it is shown there; the same command "
        "goes on",
    )


def _show(selection: SharedFiles, where: str) -> None:
    """List the files with their sizes, what stays here, and warnings."""
    echo(f"{where}: {len(selection.files)} files, {_size(selection.size)}")
    width = max(len(file.name) for file in selection.files)
    for file in selection.files:
        echo(f"  {file.name:<{width}}  {_size(file.size):>8}")
    if selection.kept:
        echo(f"stays here: {', '.join(selection.kept)}")
    for warning in selection.warnings:
        echo(f"warning: {warning}", err=True, fg="yellow")


def _size(count: float) -> str:
    """Return a count of bytes in a unit that leaves up to three digits."""
    for unit in _UNITS:
        if count < _STEP or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    raise AssertionError
