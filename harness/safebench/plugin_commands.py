"""Commands of plugins: what one raises is named, and two of one name are told apart."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import click

from .errors import AmbiguousComponentError, PluginError
from .isolation import describe_error
from .os_errors import SystemRefusalError, refusal_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .specs import Origin

_DEBUG = "safebench.debug"
_ISOLATED = "_safebench_isolated"
# what the surroundings do to a command that prints, and no fault of the plugin's
_OUTPUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO}


def check_command(name: Any, command: Any) -> None:
    """Raise TypeError for what click could not run."""
    if not isinstance(name, str) or not isinstance(command, click.Command):
        raise TypeError(f"{name!r} is a {type(command).__name__}, not a click.Command")


def isolate_command(command: click.Command, origin: Origin) -> click.Command:
    """Let a command end in one line that names it, whatever it raises.

    Its output is its own. ``--debug`` shows the traceback, also where the plugin has no
    such flag.
    """
    if getattr(command, _ISOLATED, False):
        return command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            check_command(name, below)
        _isolate_when_found(command, origin)
    else:
        _add_debug_flag(command)
    for step in ("make_context", "invoke"):
        setattr(command, step, _named(getattr(command, step), command, origin))
    setattr(command, _ISOLATED, True)
    return command


def _isolate_when_found(group: click.Group, origin: Origin) -> None:
    """Isolate the commands of a group as they are asked for: it may build them then."""
    find = group.get_command

    def get_command(context: click.Context, name: str) -> click.Command | None:
        command = find(context, name)
        return None if command is None else isolate_command(command, origin)

    setattr(group, "get_command", get_command)  # noqa: B010 - of this group alone


def _named(
    step: Callable[..., Any], command: click.Command, origin: Origin
) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return step(*args, **kwargs)
        except (
            KeyboardInterrupt,
            click.ClickException,
            click.Abort,
            click.exceptions.Exit,
        ):
            raise
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
                raise
            if _debugging():
                raise
            what = f"command {command.name!r} of {origin.described}"
            if (refusal := refusal_message(error)) is not None:
                raise SystemRefusalError(f"{what}: {refusal}") from error
            raise PluginError(f"{what}: {describe_error(error)}") from error

    return run


def _debugging() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(
        context.meta.get(_DEBUG) or context.params.get("debug")
    )


def _add_debug_flag(command: click.Command) -> None:
    taken = {name for p in command.params for name in (p.name, *p.opts)}
    if taken & {"debug", "--debug"}:
        return

    def note(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.meta[_DEBUG] = value

    command.params.append(
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=note,
            help="Show the traceback of a mistake.",
        )
    )


def ambiguous_command(name: str, choices: Sequence[str]) -> click.Command:
    """Return the command that says which ones a name may mean."""

    def refuse() -> None:
        listed = " or ".join(choices)
        raise AmbiguousComponentError(
            f"more than one plugin has the command {name!r}: say {listed}"
        )

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["args"], nargs=-1, expose_value=False)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
        short_help=f"More than one plugin has it: say {' or '.join(choices)}",
    )
