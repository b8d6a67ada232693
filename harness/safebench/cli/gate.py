"""`gate`: rules that a run must keep, for a shell script or CI."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from . import flags

if TYPE_CHECKING:
    from safebench.decision.gate_rules import GateRequest
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench gate runs/guard --min recall=.9 --max fpr=.05
  safebench gate runs/guard --max fpr=.05 --max fpr@xstest=.1 --junit gate.xml
  safebench gate runs/after --baseline runs/before --margin .02
  safebench gate runs/guard --rules gate.yaml --md summary.md
"""
_KEYS = ("min", "max", "baseline", "margin", "metrics", "by", "max_failed")


@click.command("gate", epilog=EPILOG)
@click.argument("run", metavar="RUN")
@click.option(
    "--min",
    "minima",
    multiple=True,
    metavar="METRIC[@WHERE]=X",
    help="The metric must be at least X: the low end of its interval decides. WHERE is "
    "a dataset, a classifier or a strategy; without it every cell must keep the rule. "
    "Repeatable.",
)
@click.option(
    "--max",
    "maxima",
    multiple=True,
    metavar="METRIC[@WHERE]=X",
    help="The metric must be at most X: the high end of its interval decides. "
    "Repeatable.",
)
@click.option(
    "--baseline",
    metavar="RUN[/CLASSIFIER/STRATEGY]",
    help="The metrics of the rules must be no worse than in this run, on the same "
    "samples: the end of the interval of the difference decides.",
)
@click.option(
    "--margin",
    type=float,
    metavar="X",
    help="What counts as no worse than the baseline [default: 0].",
)
@flags.METRICS.override(
    help="What to compare with the baseline [default: the metrics of the rules, else "
    "recall,fpr]."
)
@click.option(
    "--rules",
    metavar="FILE.yaml",
    help="The same options as a YAML file; those typed here are added, or win.",
)
@click.option(
    "--by",
    type=flags.Choice(["interval", "value"]),
    help="What decides: the safe end of the interval, or the value alone [default: "
    "interval].",
)
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Accept so many failed samples [default: 0].",
)
@flags.OF.override(
    help="Whose results, as tables name them, with +CALIBRATOR [default: all]."
)
@flags.SETS_OF_RUN
@flags.OPERATING_POINT.override(
    help="Measure at the threshold of this operating point instead of that of the run."
)
@flags.LABELS.override(
    help="reviewed: by the labels that reviewers marked in `safebench serve`; a set "
    "whose labels were not all reviewed fails [default: stored]."
)
@click.option("--junit", metavar="FILE", help="Write JUnit XML for CI, too.")
@click.option("--md", metavar="FILE", help="Write a Markdown table, too.")
@flags.printed("text", "md", "json")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_obj
def command(plugins: Plugins, /, run: str, **given: Any) -> None:
    """Check the rules that a run must keep; exit with 1 if one fails.

    One line a rule and cell (a classifier and strategy on a dataset) says what was
    measured, and for a failed rule what would let it pass. A number that is not known,
    or cannot be relied on, fails: no interval, failed samples, a guard trained on the
    dataset, a run that has not finished, results that were edited or are older than
    their predictions. A mistake in the rules exits with 2.
    """
    from safebench.console import echo_rendered
    from safebench.decision.gate import run_gate
    from safebench.reporters.gate import gate_junit, gate_markdown, render_gate
    from safebench.specs import MetricSpec

    targets = {option: _target(given[option], option) for option in ("junit", "md")}
    request = read_request(given)
    specs = {spec.name: spec for spec in plugins.unambiguous(MetricSpec)}
    report = run_gate(run, request, specs)
    form = "json" if given["as_json"] else given["form"]
    echo_rendered(lambda options: render_gate(report, form, options))
    for option, write in (("junit", gate_junit), ("md", gate_markdown)):
        if targets[option] is not None:
            _write(targets[option], write(report))
    if not report.passed:
        sys.exit(1)


def read_request(given: dict[str, Any]) -> GateRequest:
    """Return what the options and the rules file ask for."""
    from pathlib import Path

    from safebench.config_file import OptionFile
    from safebench.decision.gate_rules import GateRequest, parse_bound
    from safebench.errors import OptionError

    stored: dict[str, Any] = {}
    if given["rules"]:
        path = Path(given["rules"])
        stored = OptionFile.read(path).options(_KEYS)
        _check_values(path, stored)
    bounds = [
        parse_bound(text, side)
        for side, typed in (("min", given["minima"]), ("max", given["maxima"]))
        for text in (*_texts(stored.get(side, {})), *typed)
    ]
    chosen = {
        name: stored.get(name) if given[name] is None else given[name]
        for name in ("baseline", "margin", "metrics", "by", "max_failed")
    }
    if chosen["margin"] is not None and chosen["baseline"] is None:
        raise OptionError("--margin is that of a comparison: name the --baseline")
    names = flags.split_names(chosen["metrics"])
    return GateRequest(
        bounds=tuple(dict.fromkeys(bounds)),
        baseline=chosen["baseline"],
        margin=chosen["margin"] or 0.0,
        metrics=tuple(dict.fromkeys(name.casefold() for name in names)),
        by=chosen["by"] or "interval",
        of=given["of"],
        datasets=given["datasets"],
        max_failed=chosen["max_failed"] or 0.0,
        operating_point=given["operating_point"],
        reviewed=given["labels"] == "reviewed",
    )


def _texts(bounds: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in bounds.items()]


def _check_values(path: Any, stored: dict[str, Any]) -> None:
    """Raise OptionError for a value of a rules file that is of another kind."""
    from safebench.errors import OptionError

    def refuse(key: str, expected: str) -> OptionError:
        return OptionError(f"{path}: {key}: expected {expected}, got {stored[key]!r}")

    for key, value in stored.items():
        if key in {"min", "max"}:
            if not isinstance(value, dict) or not all(map(_is_number, value.values())):
                raise refuse(key, "METRIC: NUMBER lines")
        elif key in {"margin", "max_failed"}:
            if not _is_number(value) or (key == "max_failed" and not 0 <= value <= 1):
                raise refuse(key, "a number" if key == "margin" else "a share")
        elif not isinstance(value, str):
            raise refuse(key, "a text")
        elif key == "by" and value not in {"interval", "value"}:
            raise refuse(key, "interval or value")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _target(name: str | None, option: str) -> Any:
    """Return where a file will be written; a wrong name costs no measuring."""
    from pathlib import Path

    from safebench.errors import OptionError

    if name is None:
        return None
    path = Path(name)
    if path.is_dir():
        raise OptionError(f"--{option} {name}: it is a folder, name a file")
    return path


def _write(path: Any, text: str) -> None:
    from safebench.files import write_lines

    write_lines(path, text.splitlines())
