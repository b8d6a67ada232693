"""`doctor`: check the installation, and a model's prompt, tokens and batching."""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo
from safebench.redaction import redact_text

from . import flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safebench.plugins import Plugins
    from safebench.specs import Component

    Check = tuple[str, str, str]

EPILOG = """\b
Examples:
  safebench doctor
  safebench doctor -c llamaguard --model my-guard/
"""
STATUS_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", epilog=EPILOG)
@flags.CLASSIFIER.override(help="Look into a classifier's model, too.")
@flags.MODEL
@flags.SETS.override(
    metavar="KEY=VALUE", help="An option of the classifier. Repeatable."
)
@click.option(
    "--profile",
    metavar="FILE",
    help="Check a guard's profile without a model (-c guard unless you say another).",
)
@click.pass_obj
def command(
    plugins: Plugins,
    classifier: str | None,
    model: str | None,
    sets: tuple[str, ...],
    profile: str | None,
) -> None:
    """Check the installation and, with -c, a classifier's prompt and tokens.

    Exits with 1 if a check fails.
    """
    checks = _installation_checks(plugins)
    if profile and not model:
        checks = _profile_checks(plugins, classifier or "guard", profile, sets)
    elif classifier or model:
        sets = (*sets, *([f"profile={profile}"] if profile else ()))
        checks = chain(checks, _classifier_checks(plugins, classifier, model, sets))
    failed = [_print_check(*check) for check in checks]
    sys.exit(1 if any(failed) else 0)


def _print_check(name: str, status: str, detail: str) -> bool:
    """Print one check; return whether it failed."""
    head, *rest = redact_text(detail).splitlines() or [""]
    echo(f"{status:<5}", fg=STATUS_COLOURS.get(status), nl=False)
    echo(f"{name}: {head}")
    # Marked, so that a line of a prompt cannot pass for a check.
    for line in rest:
        echo(f"     | {line}")
    return status == "fail"


def _installation_checks(plugins: Plugins) -> Iterator[Check]:
    import os

    from safebench.provenance import package_versions

    yield "versions", "ok", ", ".join(f"{k} {v}" for k, v in package_versions().items())
    for plugin in plugins:
        status = "fail" if plugin.error else "ok"
        source = f"{plugin.distribution} {plugin.version}"
        yield f"plugin {plugin.name}", status, plugin.error or source
    root = os.environ.get("SAFEBENCH_DATA")
    if root:
        status = "ok" if os.path.isdir(root) else "fail"  # noqa: PTH112 - no pathlib import for this
        yield "SAFEBENCH_DATA", status, root


def _profile_checks(
    plugins: Plugins, classifier: str, profile: str, sets: tuple[str, ...]
) -> Iterator[Check]:
    """Yield what a classifier says of a profile; nothing is loaded."""
    from safebench.config_file import parse_key_values
    from safebench.errors import OptionError
    from safebench.options import build_options
    from safebench.pipeline.config import parse_component_ref
    from safebench.specs import ClassifierSpec

    ref = parse_component_ref(classifier)
    spec = plugins.get(ClassifierSpec, ref.name)
    if not spec.profile_doctor:
        raise OptionError(f"classifier {spec.name!r} checks no profiles by themselves")
    given: dict[str, Any] = ref.options | parse_key_values(sets, "--set")
    options = build_options(spec, given | {"profile": profile})
    examine = spec.import_object(spec.profile_doctor)
    yield from _isolated_checks(spec, lambda: iter(examine(options)))


def _isolated_checks(
    component: Component, begin: Callable[[], Iterator[Any]]
) -> Iterator[Check]:
    """Yield a plugin's checks one by one: those before a failure are of use, too."""
    from safebench.isolation import isolated

    checks: Iterator[Any] | None = None
    while True:
        with isolated(component):
            checks = begin() if checks is None else checks
            check = next(checks, None)
            if check is None:
                return
            name, status, detail = map(str, check)
        yield name, status, detail


def _classifier_checks(
    plugins: Plugins, classifier: str | None, model: str | None, sets: tuple[str, ...]
) -> Iterator[Check]:
    from safebench.config_file import parse_key_values
    from safebench.errors import OptionError
    from safebench.options import build_options
    from safebench.pipeline.config import parse_component_ref
    from safebench.specs import ClassifierSpec

    if not classifier:
        raise OptionError("--model goes with a classifier: say -c NAME")
    ref = parse_component_ref(classifier)
    spec = plugins.get(ClassifierSpec, ref.name)
    given: dict[str, Any] = ref.options | parse_key_values(sets, "--set")
    options = build_options(spec, given | ({"model": model} if model else {}))
    if not spec.doctor:
        yield spec.name, "ok", "takes these options; it offers no further checks"
        return
    examine = spec.import_object(spec.doctor)
    yield from _isolated_checks(spec, lambda: iter(examine(options)))
