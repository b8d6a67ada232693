"""The metrics of the core, by the ids that tables and `--metrics` use.

A metric `name` is a function of that name in its module, and has its resampled form
beside it, in capitals: `recall` and `RECALL`.
"""

from __future__ import annotations

from safebench.specs import NO_INTERVAL, MetricSpec


def _spec(
    name: str,
    module: str,
    need: str,
    summary: str,
    *,
    higher: bool = True,
    function: str = "",
    interval: bool = True,
) -> MetricSpec:
    """Declare a metric; `need` may name several needs, by spaces."""
    load = f"safebench.metrics.{module}:{function or name}"
    module_name, _, attribute = load.partition(":")
    return MetricSpec(
        name=name,
        load=load,
        summary=summary,
        needs=frozenset(need.split()),
        higher_is_better=higher,
        interval=f"{module_name}:{attribute.upper()}" if interval else NO_INTERVAL,
    )


_DECISION = [
    _spec("accuracy", "decision", "decision", "share of right decisions"),
    _spec("precision", "decision", "decision", "share of flagged that are positive"),
    _spec("recall", "decision", "decision", "share of positives that are flagged"),
    _spec("f1", "decision", "decision", "harmonic mean of precision and recall"),
    _spec(
        "balanced_accuracy",
        "decision",
        "decision",
        "mean of the recalls of both classes",
    ),
    _spec("mcc", "decision", "decision", "Matthews correlation, -1 to 1"),
    _spec("fpr", "decision", "decision", "negatives that are flagged", higher=False),
    _spec("fnr", "decision", "decision", "positives that are missed", higher=False),
    *(
        _spec(name, "decision", "decision", summary, higher=higher, interval=False)
        for name, summary, higher in (
            ("tp", "positives flagged (count)", True),
            ("fp", "negatives flagged (count)", False),
            ("tn", "negatives passed (count)", True),
            ("fn", "positives passed (count)", False),
        )
    ),
]
_RANKING = [
    _spec("auroc", "ranking", "score", "area under the ROC curve, ties as half"),
    _spec("auprc", "ranking", "score", "average precision, no interpolation"),
    _spec(
        "tpr_at_fpr_0.01",
        "ranking",
        "score",
        "recall where 1 % of negatives are flagged",
        function="tpr_at_fpr",
    ),
    _spec(
        "fpr_at_tpr_0.95",
        "ranking",
        "score",
        "negatives flagged where 95 % of positives are",
        higher=False,
        function="fpr_at_tpr",
    ),
    _spec(
        "pauroc_fpr_0.1",
        "partial_auroc",
        "score",
        "partial AUROC up to 10 % FPR in McClish's scale: 0.5 is chance",
        function="partial_auroc",
    ),
]
_PROBABILITY = [
    _spec("brier", "calibration", "probability", "mean squared error", higher=False),
    _spec("nll", "calibration", "probability", "mean log loss in nats", higher=False),
]
_CALIBRATION = [
    _spec(name, "calibration", "probability", summary, higher=False)
    for name, summary in (
        ("ece", "mean gap of P and share of positives, 15 bins of equal width"),
        ("ece_mass", "the same in 15 bins of about equal mass"),
        ("mce", "largest gap of a bin of equal width"),
        ("rmsce", "root of the mean squared gap"),
        ("rmsce_debiased", "the same, less what chance adds"),
    )
]
_SELECTIVE = [
    _spec("aurc", "selective", "decision", "mean error over coverage", higher=False),
    _spec("e_aurc", "selective", "decision", "AURC above the best", higher=False),
    *(
        _spec(
            f"selective_accuracy_{share}",
            "selective",
            "decision",
            f"accuracy on the most confident {share} %",
        )
        for share in (80, 90, 95)
    ),
]
_PAIRS = [
    _spec("ranking_accuracy", "pairs", "pairs score", "pairs in the right order"),
    _spec(
        "sign_accuracy", "pairs", "pairs decision", "answers of pairs decided rightly"
    ),
    _spec("kendall_tau_b", "pairs", "severity score", "order of scores and severities"),
]
_CATEGORIES = [
    _spec("micro_f1", "categories", "categories", "F1 over all known cells"),
    _spec("macro_f1", "categories", "categories", "mean F1 of the categories"),
    _spec(
        "hamming_loss", "categories", "categories", "share of wrong cells", higher=False
    ),
    _spec("subset_accuracy", "categories", "categories", "exact category sets"),
]
_CATEGORY_RANKING = [
    _spec(name, "category_ranking", "category_scores", summary)
    for name, summary in (
        ("micro_auroc", "AUROC over all known cells"),
        ("macro_auroc", "mean AUROC of the categories"),
        ("micro_auprc", "average precision over all known cells"),
        ("macro_auprc", "mean average precision of the categories"),
    )
]
_BOUNDS = [
    _spec(name, "bounds", need, summary, higher=False, interval=False)
    for name, need, summary in (
        ("gap_mean", "bounds", "mean width of score bounds"),
        ("gap_p95", "bounds", "95th percentile of that width"),
        (
            "gap_mean_categories",
            "category_bounds",
            "mean width of the widest category bounds of a sample",
        ),
        ("gap_p95_categories", "category_bounds", "95th percentile of that width"),
        (
            "gap_mean_uncertainty",
            "uncertainty_bounds",
            "mean width of uncertainty bounds",
        ),
        ("gap_p95_uncertainty", "uncertainty_bounds", "95th percentile of that width"),
    )
]
_UNCERTAINTY = [
    _spec(
        "error_auroc",
        "ranking",
        "uncertainty decision",
        "AUROC of uncertainty against wrong decisions",
    ),
]

SPECS: list[MetricSpec] = [
    *_RANKING,
    *_DECISION,
    *_PROBABILITY,
    *_CALIBRATION,
    *_SELECTIVE,
    *_CATEGORIES,
    *_CATEGORY_RANKING,
    *_BOUNDS,
    *_UNCERTAINTY,
    *_PAIRS,
]
