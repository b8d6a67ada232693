"""`serve`: a local web page to judge conversations and to browse runs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from safebench.console import echo

from . import flags
from .execution import STARTING, loading_notice

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.web.state import AppState

HOST = "127.0.0.1"
PORT = 8642
PATIENCE = 2.0  # seconds until a page shows its place in the queue
EPILOG = """\b
Examples:
  safebench serve
  safebench serve runs/llamaguard-starter --port 9000
  safebench serve runs/on-hub-sets --data-root /data/hub
  safebench serve --operating-point point.json
  safebench serve -c big=llamaguard,model=meta-llama/Llama-Guard-3-8B -c keyword
"""


@click.command("serve", epilog=EPILOG)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@flags.CLASSIFIERS.override(
    help="Offer a classifier with these options, the first as the default. Repeatable."
)
@flags.OPERATING_POINT.override(
    help="Ask the guard of this operating point alone, and let it decide: block, "
    "review or pass."
)
@flags.DATA_ROOT.override(
    help="Read the prompts of runs on hub datasets from DIR/ORG/NAME [default: where "
    "the run read them]."
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default=HOST,
    help=f"Address to serve on [default: {HOST}, this machine alone].",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=PORT,
    show_default=True,
    help="Port to serve on; 0 takes a free one.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name that the page may be asked for by. Repeatable.",
)
@click.pass_obj
def command(
    plugins: Plugins,
    runs: tuple[str, ...],
    classifiers: tuple[str, ...],
    operating_point: str | None,
    data_root: str | None,
    host: str,
    port: int,
    hosts: tuple[str, ...],
) -> None:
    """Serve a web page: judge what one types, and browse the results of runs.

    RUN is a run folder or a folder of them; without one, every run in ./runs. The
    default classifier is loaded at once, another when it is first asked. A model judges
    one conversation at a time: the others wait on a page that shows their place in the
    queue. Predictions of runs come with their prompts, which are read again from the
    data sets, and are collapsed. Labels can be reviewed: marks are written beside their
    run, for `safebench leaderboard --labels reviewed`. Nobody is asked for a password:
    whoever reaches the address can use it, so it is this machine alone unless --host
    says otherwise.
    """
    # a page that asks by another name is some site whose name resolves to us
    with loading_notice(STARTING):
        state = build_app_state(
            plugins, runs, classifiers, (*hosts, host), operating_point, data_root
        )
    from safebench.web.app import create_app
    from safebench.web.server import is_local, serve

    def started(address: str) -> None:
        if not is_local(host):
            echo(
                f"warning: whoever can reach this machine (it listens on {host}) can "
                "use this page; nobody is asked for a password",
                err=True,
            )
        echo(f"serving on {address} (Ctrl-C stops)")
        # after the address is shown: loading a model takes a while
        state.start_loading()

    with suppress(KeyboardInterrupt):  # before the server is ready to take it
        serve(create_app(state), host, port, started)
    echo("stopped", err=True)


def build_app_state(
    plugins: Plugins,
    runs: tuple[str, ...],
    classifiers: tuple[str, ...],
    hosts: tuple[str, ...],
    operating_point: str | None = None,
    data_root: str | None = None,
) -> AppState:
    """Return what to serve; raises `SafebenchError` for what cannot be served."""
    from safebench.errors import SafebenchError
    from safebench.first_party import word_list_note
    from safebench.pipeline.config import RunConfig, parse_component_ref
    from safebench.results import read_rows
    from safebench.results.runs import results_files
    from safebench.score.deployment import deploy
    from safebench.score.service import default_classifier

    try:
        import flask  # noqa: F401 - refused here rather than by the first request
        import waitress  # noqa: F401

        from safebench.web.state import AppState
    except ModuleNotFoundError as error:
        if error.name not in {"flask", "waitress"}:
            raise
        raise SafebenchError(
            f"the page needs {error.name}: pip install 'safebench[serve]'"
        ) from None
    for file in results_files(runs):  # a wrong name fails now, and not on the page
        if str(file) in runs:
            read_rows(file)
    refs = tuple(map(parse_component_ref, classifiers))
    deployment = None
    if operating_point is not None:
        deployment = deploy(operating_point, plugins, RunConfig(classifiers=refs))
        refs = ()
    state = AppState(
        plugins=plugins,
        classifiers=refs,
        runs=runs,
        hosts=hosts,
        patience=PATIENCE,
        deployment=deployment,
        data_root=data_root,
    )
    state.check_classifiers()
    if not refs and deployment is None:
        default = default_classifier(plugins)
        if note := word_list_note(default, plugins.distributions):
            echo(note, err=True)
    return state
