"""The analysis of a run on a page: overview, comparisons, and what can be opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.analysis.ensemble_tables import agreement_tables, ensemble_tables
from safebench.analysis.set_overview import TOO_MANY, set_overviews
from safebench.analysis.tables import (
    MAX_PAIRS,
    combination_tables,
    overview_table,
    uncertainty_comparison_table,
)
from safebench.charts import member_spread_card, uncertainty_card

from .html import Html, details, identifier, join, notes, tag, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.analysis import RunAnalysis
    from safebench.analysis.ensemble import EnsembleMembers
    from safebench.analysis.run_analysis import CombinationAnalysis

FINDS = "Which uncertainty finds the errors"
MAX_DETAILED = 12  # combinations up to which each is shown in full
LEFT_OUT = (
    "{} more strategies decide as one of these: `safebench report RUN -s NAME` shows "
    "them in full"
)
Part = tuple[str, str, Html]  # id, title in the contents ("": none), element


def analysis_section(analysis: RunAnalysis, prefix: str) -> Iterator[Part]:
    """Yield the parts of a run's analysis; ids begin with `prefix`."""
    id_ = f"{prefix}-uncertainties"
    yield id_, FINDS, _uncertainties(analysis, id_)
    id_ = f"{prefix}-overview"
    tables = [overview_table(analysis)]
    tables += map(uncertainty_comparison_table, analysis.uncertainty_comparisons)
    title = "All strategies, with differences to the best"
    inside = [
        text_table(table, 4 if place else 0) for place, table in enumerate(tables)
    ]
    yield id_, title, details(title, *inside, id_=id_)
    by_set: dict[str, list[CombinationAnalysis]] = {}
    for combination in analysis.combinations:
        by_set.setdefault(combination.predictions.dataset, []).append(combination)
    for dataset, combinations in by_set.items():
        id_ = identifier(prefix, dataset)
        title = f"Slices and calibration on {dataset}"
        shown = combinations
        if len(analysis.combinations) > MAX_DETAILED:
            shown = one_of_each_decision(combinations)
        inside = [_combination(c, analysis) for c in shown]
        if len(shown) < len(combinations):
            inside.append(notes([LEFT_OUT.format(len(combinations) - len(shown))]))
        yield id_, title, details(title, *inside, id_=id_)
    if analysis.ensembles:
        id_ = f"{prefix}-ensembles"
        inside = [_ensemble(members) for members in analysis.ensembles]
        yield id_, "Ensembles", details("Ensembles", *inside, id_=id_)
    if analysis.agreements:
        id_ = f"{prefix}-agreement"
        inside = [
            text_table(table, 4)
            for agreement in analysis.agreements
            for table in agreement_tables(agreement, MAX_PAIRS)
        ]
        title = "Agreement"
        yield id_, title, details(title, *inside, id_=id_)


def _uncertainties(analysis: RunAnalysis, id_: str) -> Html:
    """Return a table a set, the first one open, and how to read them."""
    *tables, reading = set_overviews(analysis)
    inside = [
        details(table.title, text_table(table, 0), open_=place == 0)
        for place, table in enumerate(tables)
    ]
    told = [note for note in reading.notes if note != TOO_MANY]
    return join([tag("h3", FINDS, id=id_), *inside, notes(told)])


def one_of_each_decision(
    combinations: Sequence[CombinationAnalysis],
) -> list[CombinationAnalysis]:
    """Return one of the combinations of a guard that decide alike.

    With a score where there is one, and the uncertainty that finds most errors.
    """
    alike: dict[tuple[object, ...], CombinationAnalysis] = {}
    for combination in sorted(combinations, key=_least_first):
        predictions = combination.predictions
        decisions = (predictions.judged.tobytes(), predictions.wrong.tobytes())
        alike[predictions.classifier, *decisions] = combination
    return list(alike.values())


def _least_first(combination: CombinationAnalysis) -> tuple[bool, float]:
    detection = combination.error_detection
    auroc = None if detection is None else detection.auroc
    scored = not np.isnan(combination.predictions.score).all()
    return scored, -1.0 if auroc is None else auroc


def _combination(combination: CombinationAnalysis, analysis: RunAnalysis) -> Html:
    first, *rest = combination_tables(combination, analysis.metrics)
    charts: list[str] = []
    if combination.error_detection is not None:
        card = uncertainty_card(combination.error_detection)
        charts.append(tag("div", Html(card.html), class_="charts"))
    predictions = combination.predictions
    return details(
        f"{predictions.classifier}/{predictions.method}",
        text_table(first, 0),
        *charts,
        *(text_table(table, 4) for table in rest),
    )


def _ensemble(members: EnsembleMembers) -> Html:
    agreement = members.agreement
    card = member_spread_card(members)
    return details(
        f"{agreement.title} on {agreement.dataset}",
        tag("div", Html(card.html), class_="charts"),
        *(text_table(table, 4) for table in ensemble_tables(members, MAX_PAIRS)),
    )
