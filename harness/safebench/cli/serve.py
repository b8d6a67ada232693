"""`serve`: a local web page to judge conversations and to browse runs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.web.site import Site

HOST = "127.0.0.1"
PORT = 8642
EPILOG = """\b
Examples:
  safebench serve
  safebench serve runs/llamaguard-starter --port 9000
  safebench serve -c big=llamaguard,model=meta-llama/Llama-Guard-3-8B -c keyword
"""


@click.command("serve", epilog=EPILOG)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@flags.CLASSIFIERS.but(
    help="Offer a classifier with these options, the first as the default. Repeatable."
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
    host: str,
    port: int,
    hosts: tuple[str, ...],
) -> None:
    """Serve a web page: judge what one types, and browse the results of runs.

    RUN is a run folder or a folder of them; without one, every run in ./runs. The
    default classifier is loaded at once, another when it is first asked. Nobody is
    asked for a password: whoever reaches the address can use it, so it is this machine
    alone unless --host says otherwise.
    """
    site = build(plugins, runs, classifiers, (*hosts, host))
    from safebench.web.app import create_app  # only now it is known to be installed
    from safebench.web.server import is_local, serve

    def started(address: str) -> None:
        if not is_local(host):
            click.echo(
                f"warning: whoever can reach this machine (it listens on {host}) can "
                "use this page; nobody is asked for a password",
                err=True,
            )
        click.echo(f"serving on {address} (Ctrl-C stops)")
        site.prepare()

    with suppress(KeyboardInterrupt):  # before the server is ready to take it
        serve(create_app(site), host, port, started)
    click.echo("stopped", err=True)


def build(
    plugins: Plugins,
    runs: tuple[str, ...],
    classifiers: tuple[str, ...],
    hosts: tuple[str, ...],
) -> Site:
    """Return what to serve; raises `SafebenchError` for what cannot be served."""
    from safebench.errors import SafebenchError
    from safebench.results import read_rows, results_files
    from safebench.run.terms import parse_term

    try:
        import flask  # noqa: F401 - told now, not when it serves
        import waitress  # noqa: F401

        from safebench.web.site import Site
    except ModuleNotFoundError as error:
        if error.name not in {"flask", "waitress"}:
            raise
        raise SafebenchError(
            f"the page needs {error.name}: pip install 'safebench[serve]'"
        ) from None
    terms = tuple(map(parse_term, classifiers))
    for file in results_files(runs):  # a wrong name is told now, not on the page
        if str(file) in runs:
            read_rows(file)
    site = Site(plugins=plugins, classifiers=terms, runs=runs, hosts=hosts)
    site.check()
    return site
