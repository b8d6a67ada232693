"""`doctor`: check the installation, and a model's prompt, tokens and batching."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from . import flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.plugins import Plugins

    Check = tuple[str, str, str]

EPILOG = """\b
Examples:
  safebench doctor
  safebench doctor -c llamaguard --model my-guard/
"""
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", epilog=EPILOG)
@flags.CLASSIFIER.but(help="Look into a classifier's model, too.")
@flags.MODEL
@flags.SETS.but(metavar="KEY=VALUE", help="An option of the classifier. Repeatable.")
@click.pass_obj
def command(
    plugins: Plugins, classifier: str | None, model: str | None, sets: tuple[str, ...]
) -> None:
    """Check the installation and, with -c, a classifier's prompt and tokens.

    Exits with 1 if a check fails.
    """
    failed = False
    checks = [*_installation(plugins)]
    for name, status, detail in checks:
        failed |= _show(name, status, detail)
    if classifier or model:
        for name, status, detail in _classifier(plugins, classifier, model, sets):
            failed |= _show(name, status, detail)
    sys.exit(1 if failed else 0)


def _show(name: str, status: str, detail: str) -> bool:
    mark = click.style(f"{status:<5}", fg=COLOURS.get(status))
    head, *rest = detail.splitlines() or [""]
    click.echo(f"{mark}{name}: {head}")
    for line in rest:
        click.echo(f"     | {line}")
    return status == "fail"


def _installation(plugins: Plugins) -> Iterator[Check]:
    import os

    from safebench.run.manifest import versions

    yield "versions", "ok", ", ".join(f"{k} {v}" for k, v in versions().items())
    for plugin in plugins:
        status = "fail" if plugin.error else "ok"
        found = f"{plugin.project} {plugin.version}"
        yield f"plugin {plugin.name}", status, plugin.error or found
    root = os.environ.get("SAFEBENCH_DATA")
    if root:
        status = "ok" if os.path.isdir(root) else "fail"  # noqa: PTH112 - no pathlib import for this
        yield "SAFEBENCH_DATA", status, root


def _classifier(
    plugins: Plugins, classifier: str | None, model: str | None, sets: tuple[str, ...]
) -> Iterator[Check]:
    from safebench.errors import OptionError
    from safebench.options import build_options
    from safebench.run.terms import parse_pairs, parse_term
    from safebench.specs import ClassifierSpec, resolve

    if not classifier:
        raise OptionError("--model goes with a classifier: say -c NAME")
    term = parse_term(classifier)
    spec = plugins.get(ClassifierSpec, term.name)
    given: dict[str, Any] = term.options | parse_pairs(list(sets), "--set")
    options = build_options(spec, given | ({"model": model} if model else {}))
    if not spec.doctor:
        yield spec.name, "ok", "takes these options; it offers no further checks"
        return
    yield from resolve(spec.doctor)(options)
