"""`serve`: a local web page to judge conversations and to browse runs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flask import Flask

    from safebench.plugins import Plugins

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
@click.option(
    "-c",
    "--classifier",
    "classifiers",
    multiple=True,
    metavar="[LABEL=]NAME[,key=value...]",
    help="Offer a classifier with its options, the first as the default; repeatable.",
)
@click.option("--host", default=HOST, show_default=True, help="Address to serve on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to serve on; 0 takes a free one.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name that the page may be asked for by; repeatable.",
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

    RUN is a run folder or a folder of them; without one, every run in ./runs. A model
    is loaded when it is first asked. Nobody is asked for a password: whoever reaches
    the address can use it, so it is this machine alone unless --host says otherwise.
    """
    app = build(plugins, runs, classifiers, (*hosts, host))
    from safebench.web.server import serve  # only now it is known to be installed

    if host not in {HOST, "localhost", "::1"}:
        click.echo(f"anyone who reaches {host} can use this page", err=True)
    with suppress(KeyboardInterrupt):  # before the server is ready to take it
        serve(app, host, port, lambda address: click.echo(f"serving on {address}"))
    click.echo("stopped", err=True)


def build(
    plugins: Plugins,
    runs: tuple[str, ...],
    classifiers: tuple[str, ...],
    hosts: tuple[str, ...],
) -> Flask:
    """Return the application; raises `SafebenchError` for what cannot be served."""
    from safebench.errors import SafebenchError
    from safebench.results import results_files
    from safebench.run.terms import parse_term

    try:
        import waitress  # noqa: F401 - told now, not when it serves

        from safebench.web.app import create_app
        from safebench.web.site import Site
    except ModuleNotFoundError as error:
        if error.name not in {"flask", "waitress"}:
            raise
        raise SafebenchError(
            f"the page needs {error.name}: pip install 'safebench[serve]'"
        ) from None
    terms = tuple(map(parse_term, classifiers))
    results_files(runs)  # a wrong name is told now, not on the page
    site = Site(plugins=plugins, classifiers=terms, runs=runs, hosts=hosts, warm=True)
    site.check()
    return create_app(site)
