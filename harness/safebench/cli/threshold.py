"""`threshold`: the score to block from, chosen on held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import flags

if TYPE_CHECKING:
    from safebench.decision.thresholds import Rule
    from safebench.decision.transfer import ThresholdRequest
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench threshold runs/guard --max-fpr .05
  safebench threshold runs/guard --of llamaguard/marginal_any --min-recall .95
  safebench threshold runs/guard --cost-fp 1 --cost-fn 20 --prevalence .002
  safebench threshold runs/guard --max-fpr .05 --transfer --format md
  safebench threshold runs/guard -d toxic_chat --max-fpr .05 --control crc
  safebench threshold runs/guard -d toxic_chat --max-fpr .05 --review-budget .05 \\
      --save point.json
"""


@click.command("threshold", epilog=EPILOG)
@click.argument("run", metavar="RUN")
@click.option(
    "--max-fpr",
    type=flags.SHARE,
    metavar="SHARE",
    help="Flag at most this share of negatives: the lowest score of a negative at "
    "which that is so, of N negatives the K-th highest, K being SHARE x N rounded "
    "down.",
)
@click.option(
    "--min-recall",
    type=flags.SHARE,
    metavar="SHARE",
    help="Flag at least this share of positives: the highest score at which that is "
    "so.",
)
@click.option(
    "--review-budget",
    type=flags.SHARE,
    metavar="SHARE",
    help="People look at this share of all samples: alone, the highest scores; beside "
    "another rule, the scores just below its threshold.",
)
@click.option(
    "--cost-fp",
    type=flags.COST,
    metavar="X",
    help="What a false positive costs; with --cost-fn, the cheapest threshold (beside "
    "another rule: its cost).",
)
@click.option(
    "--cost-fn", type=flags.COST, metavar="X", help="What a missed positive costs."
)
@click.option(
    "--threshold",
    "given",
    type=flags.FINITE,
    metavar="X",
    help="Measure this threshold, instead of choosing one.",
)
@flags.OPERATING_POINT.override(
    help="Measure the threshold and review band of this operating point on the run, "
    "instead of choosing one."
)
@click.option(
    "--review-low",
    type=flags.FINITE,
    metavar="X",
    help="Scores from here up to the threshold are reviewed.",
)
@click.option(
    "--prevalence",
    type=flags.SHARE,
    metavar="SHARE",
    help="The share of unsafe prompts where the guard will work: precision, alerts and "
    "misses per million there; costs and review are counted there.",
)
@click.option(
    "--control",
    type=flags.Choice(["crc", "ltt"]),
    help="Promise the rate for new samples: on average (crc, conformal risk control), "
    "or with a probability (ltt, learn then test).",
)
@click.option(
    "--delta",
    type=flags.SHARE,
    metavar="SHARE",
    default=0.05,
    show_default=True,
    help="How often ltt may be wrong.",
)
@click.option(
    "--transfer",
    is_flag=True,
    help="Measure every threshold on every other set, too; and one threshold for all "
    "sets, with each left out once.",
)
@click.option(
    "--per-category",
    is_flag=True,
    help="A threshold for each category with 20 samples of each class, too.",
)
@flags.OF.override(
    help="Whose scores, as tables name them, with +CALIBRATOR [default: all]."
)
@flags.SETS_OF_RUN
@click.option(
    "--save",
    metavar="FILE",
    help="Write the operating point of one classifier, strategy and set (with "
    "--transfer: of all sets) for `score` and `serve`.",
)
@flags.printed("table", "md", "json")
@click.pass_obj
def command(plugins: Plugins, /, run: str, **given: Any) -> None:  # noqa: ARG001 - click hands them over
    """Choose the score to block from, and say what it does.

    Chosen on the calibration part of each set, measured on its test part: FPR, recall,
    precision, the share that is flagged, what is reviewed and what it costs. A decision
    is score >= threshold, and a threshold is one of the scores it was chosen on, so
    that ties are decided as they were counted; failed samples are wrong at any.
    """
    from safebench.console import echo_rendered
    from safebench.decision.operating_point import (
        check_run,
        read_point,
        request_of_point,
    )
    from safebench.decision.transfer import threshold_reports
    from safebench.reporters.thresholds import render_thresholds
    from safebench.results.selection import files_of_run

    of = given["of"]
    if given["operating_point"]:
        point = read_point(given["operating_point"])
        request, of = request_of_point(point, given), of or point.label
    else:
        point, request = None, read_request(given)  # a wrong option costs no reading
    files = files_of_run(run, of, given["datasets"])
    if point is not None:
        check_run(point, files)
    reports = threshold_reports(files, request)
    echo_rendered(lambda options: render_thresholds(reports, given["form"], options))
    if given["save"]:
        from safebench.console import echo
        from safebench.decision.operating_point import save_point

        path = save_point(given["save"], reports, files)
        echo(f"operating point: {path}", err=True)


def read_request(given: dict[str, Any]) -> ThresholdRequest:
    """Return what the options ask for; raises OptionError for what does not fit."""
    from safebench.decision.transfer import ThresholdRequest, check_request

    rule = _rule(given)
    review = given["review_budget"] if rule.name != "review_budget" else None
    request = ThresholdRequest(
        rule=rule,
        control=given["control"],
        delta=given["delta"],
        prevalence=given["prevalence"],
        review=review,
        review_low=given["review_low"],
        per_category=given["per_category"],
        transfer=given["transfer"],
    )
    check_request(request)
    return request


def _rule(given: dict[str, Any]) -> Rule:
    from safebench.decision.thresholds import COST, GIVEN, REVIEW_BUDGET, Rule
    from safebench.errors import OptionError

    cost_fp, cost_fn = given["cost_fp"], given["cost_fn"]
    if (cost_fp is None) != (cost_fn is None):
        missing = "--cost-fn" if cost_fn is None else "--cost-fp"
        raise OptionError(f"{missing} is missing: only the ratio of both costs counts")
    costs = {"cost_fp": cost_fp, "cost_fn": cost_fn}
    named = {
        name: given[parameter]
        for name, parameter in (
            ("max_fpr", "max_fpr"),
            ("min_recall", "min_recall"),
            (GIVEN, "given"),
        )
        if given[parameter] is not None
    }
    if len(named) > 1:
        typed = " and ".join(Rule(name=n, value=v).option for n, v in named.items())
        raise OptionError(f"{typed}: one rule chooses the threshold, say one of them")
    if named:
        ((name, value),) = named.items()
        return Rule(name=name, value=value, **costs)
    if cost_fp is not None:
        return Rule(name=COST, **costs)
    if given["review_budget"] is not None:
        return Rule(name=REVIEW_BUDGET, value=given["review_budget"])
    raise OptionError(
        "which threshold? say --max-fpr .05, --min-recall .95, --review-budget .05, "
        "or --cost-fp 1 --cost-fn 20"
    )
