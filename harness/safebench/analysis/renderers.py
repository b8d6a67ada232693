"""Output formats of `safebench analyze`: terminal, Markdown and JSON.

Tables come from `tables` and are drawn by `text_table`; JSON is written here. Its keys
are read by other programs, so they stay when a field of a record gets a new name:
`_KEYS` maps one to the other.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from .agreement import Agreement, PairwiseAgreement
from .calibration import ReliabilityDiagram
from .ensemble import (
    EnsembleDisagreement,
    EnsembleMembers,
    MemberVotes,
    SliceDisagreement,
)
from .selective import CoveragePoint, RiskCoverageCurve
from .tables import analysis_tables
from .text_table import to_markdown, to_terminal
from .uncertainty import StrategyResult, UncertaintyComparison

if TYPE_CHECKING:
    from safebench.console import RenderOptions

    from .run_analysis import CombinationAnalysis, RunAnalysis

FORMATS = ("table", "md", "json")
_KEYS: dict[type, dict[str, str]] = {
    Agreement: {"disagreement": "differ", "positive_rate": "flagged"},
    PairwiseAgreement: {
        "disagreement": "differ",
        "only_a_right": "a_right",
        "only_b_right": "b_right",
    },
    ReliabilityDiagram: {"mean_predicted": "said", "fraction_positive": "seen"},
    RiskCoverageCurve: {
        "optimal_aurc": "optimal",
        "points": "levels",
        "coverage_at_risk": "covers",
    },
    CoveragePoint: {"coverage": "share", "n_kept": "kept"},
    StrategyResult: {"from_strategy": "own"},
    UncertaintyComparison: {"n_errors": "errors", "results": "rivals"},
    EnsembleMembers: {
        "disagreement": "dissent",
        "n_by_votes": "tally",
        "n_positive_by_votes": "positive",
    },
    EnsembleDisagreement: {
        "n_minority": "against",
        "n_minority_right": "then_right",
        "n_errors": "errors",
        "n_unanimous_errors": "unanimous",
        "slices": "places",
        "unanimous_errors": "alike",
        "most_divided": "split",
    },
    SliceDisagreement: {"disagreement": "differ", "minority_rate": "against"},
    MemberVotes: {
        "positive_members": "yes",
        "mean_probability": "mean",
        "std": "spread",
    },
}
# one value a sample: curves and scatter plots need these, a program reads predictions
_PER_SAMPLE: dict[type, frozenset[str]] = {
    EnsembleMembers: frozenset({"mean_probability", "std", "wrong"}),
    RiskCoverageCurve: frozenset({"coverage", "risk"}),
}


def render_analysis(analysis: RunAnalysis, form: str, options: RenderOptions) -> str:
    """Return the analysis in one of `FORMATS`."""
    if form == "json":
        return to_json(analysis)
    tables = list(analysis_tables(analysis, unicode=options.unicode, full=False))
    return to_markdown(tables) if form == "md" else to_terminal(tables, options)


def to_json(analysis: RunAnalysis) -> str:
    """Return one object with unrounded numbers, without values of single samples.

    Only ASCII is written, so that a control character in a prompt stays an escape.
    """
    record = {
        "run": analysis.run,
        "part": analysis.part,
        "combinations": [
            _combination_record(combination) for combination in analysis.combinations
        ],
        "contests": _to_json_value(analysis.uncertainty_comparisons),
        "members": _to_json_value(analysis.ensembles),
        "agreements": _to_json_value(analysis.agreements),
        "notes": list(analysis.notes),
    }
    return json.dumps(record, indent=2, allow_nan=False)


def _combination_record(combination: CombinationAnalysis) -> dict[str, Any]:
    predictions = combination.predictions
    curve: dict[str, Any] | None = _to_json_value(combination.risk_coverage)
    # A property: only fields of a record become keys by themselves.
    if combination.risk_coverage is not None and curve is not None:
        curve["e_aurc"] = combination.risk_coverage.e_aurc
    uncertainty = combination.uncertainty
    return {
        **{
            name: getattr(predictions, name)
            for name in ("classifier", "model", "strategy", "dataset", "task", "n")
        },
        "calibrator": predictions.calibrator,
        "n_pos": int(predictions.y.sum()),
        "n_failed": sum(error is not None for error in predictions.errors),
        "threshold": predictions.threshold,
        "accuracy": combination.accuracy,
        "uncertainty": uncertainty.source if uncertainty else None,
        "detection": _to_json_value(combination.error_detection),
        "calibration": _to_json_value(combination.reliability),
        "slices": _to_json_value(combination.slices),
        **({"gaps": _to_json_value(combination.gaps)} if combination.gaps else {}),
        "hardest": _to_json_value(combination.least_certain),
        "mistakes": _to_json_value(combination.high_confidence_errors),
        "notes": list(combination.notes),
        "selective": curve,
    }


def _to_json_value(value: Any) -> Any:
    """Return what JSON can hold: records as objects, NaN and infinity as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _to_json_object(value)
    if isinstance(value, dict):
        return {str(key): _to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value]
    if hasattr(value, "tolist"):  # an array or a numpy scalar
        return _to_json_value(value.tolist())
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _to_json_object(record: Any) -> dict[str, Any]:
    keys = _KEYS.get(type(record), {})
    hidden = _PER_SAMPLE.get(type(record), frozenset())
    return {
        keys.get(field.name, field.name): _to_json_value(getattr(record, field.name))
        for field in fields(record)
        if field.name not in hidden
    }
