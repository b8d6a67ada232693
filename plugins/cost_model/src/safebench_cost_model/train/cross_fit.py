"""Cross-fitting: every row is measured by a model that saw no prompt of its fold.

A test part of a hundred prompts tells little apart; out of fold, all rows of the
training are test rows once. The baseline is fitted on the same folds, from the pairs
alone, so that differences are paired.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError, ModelError, OptionError
from safebench_cost_model.model.artifact import (
    CROSS_FIT_FILE,
    CROSS_FIT_FOLDER,
    KIND_TFIDF,
)
from safebench_cost_model.model.platt_scaling import platt_from_json
from safebench_cost_model.options import TFIDF, CostTrainOptions

from .evaluation import (
    cost_measures,
    difference_measures,
    natural_mix_measures,
    pair_labels,
    probability_measures,
)
from .folds import assign_folds, seeded_hash
from .pairs import read_pairs
from .singles import read_singles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Measure, Training
    from safebench.typing import Array

    from .evaluation import PairLabels
    from .fitted import FitBase, FittedBase
    from .pairs import PreferencePair
    from .singles import SingleResponse

PART = "cross-fit"


@dataclass(frozen=True, slots=True, eq=False)
class FoldData:
    """The rows of one fold: what is learnt from, and what is measured on."""

    training: Training
    pairs: Sequence[PreferencePair]
    singles: Sequence[SingleResponse]


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Costs of N pairs and S single responses by one kind of model."""

    costs: Array  # (N, 2), NaN where the model left a pair out
    probability: Array  # (N, 2), NaN where a fold allowed no calibration
    single_costs: Array  # (S,)


def check_cross_fit(options: CostTrainOptions) -> None:
    """Raise `OptionError` where folds are asked for in a group of processes."""
    if options.cross_fit and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError(
            "--cross-fit: folds are fitted by one process; start it without a launcher"
        )


def cross_fit(training: Training, kind: str, fit: FitBase) -> list[Measure]:
    """Fit a model a fold, and return measures of all rows of the training sets.

    Finished folds are kept under OUT/cross-fit, and what they predict is written to
    OUT/cross-fit.jsonl, without texts. Raises `DataError` for fewer prompts than folds.
    """
    k = training.options.cross_fit
    folds = list(split_folds(training, k))
    folder = folds_folder(training, k)
    # The baseline on the same rows is the one that it is compared with.
    is_baseline = kind == KIND_TFIDF and training.singles is None
    baseline = f"{KIND_TFIDF} on pairs" if training.singles else KIND_TFIDF
    fits = {kind: fit} | ({} if is_baseline else {baseline: fit_on_pairs})
    joined = {
        name: _join(
            [_fold_costs(folder, i, fold, name, f) for i, fold in enumerate(folds)]
        )
        for name, f in fits.items()
    }
    pairs = [pair for fold in folds for pair in fold.pairs]
    singles = [single for fold in folds for single in fold.singles]
    _write_predictions(training.out / CROSS_FIT_FILE, folds, joined)
    return _measures(kind, "" if is_baseline else baseline, joined, pairs, singles)


def fit_on_pairs(training: Training, singles: Sequence[SingleResponse]) -> FittedBase:
    """Fit the baseline on the same pairs, without single responses."""
    from .baseline import fit_baseline

    options = CostTrainOptions(base=TFIDF, conflicts=training.options.conflicts)
    return fit_baseline(replace(training, options=options, singles=None), singles)


def folds_folder(training: Training, k: int) -> Path:
    """Return where k folds lie: a fold of another number holds other prompts.

    Nothing that was left there half done may be gone on with.
    """
    return training.out / CROSS_FIT_FOLDER / f"{k}-folds"


def split_folds(training: Training, k: int) -> Iterable[FoldData]:
    """Yield k folds of all rows of the training sets, whole prompt groups each.

    What was named by --val-dataset serves every fold; otherwise a fold's validation
    rows are cut from those it does not measure.
    """
    given, pool = _given_parts(training), _pool(training)
    singles = training.singles
    groups = {sample.group for sample in pool.samples}
    alone = [sample.group for sample in singles.samples] if singles else []
    folds = assign_folds(groups, alone, k, training.seed)
    share = len(training.val) / (len(training.train) + len(training.val))
    for fold in range(k):
        rest = {group for group in groups if folds[group] != fold}
        val_groups = set() if "val" in given else _val_groups(rest, share, training)
        test = _select(pool, {group for group in groups if folds[group] == fold})
        learnt, unseen = None, []
        if singles is not None:
            held_out = {g for g in alone if folds[g] == fold}
            unseen = read_singles(_select(singles, held_out))
            learnt = _select(singles, set(alone) - held_out - val_groups)
        yield FoldData(
            replace(
                training,
                out=folds_folder(training, k) / f"fold-{fold + 1}",
                train=_select(pool, rest - val_groups),
                val=training.val if "val" in given else _select(pool, val_groups),
                test=test,
                singles=learnt,
                say=_prefixed(training.say, f"fold {fold + 1}/{k}"),
            ),
            read_pairs(test, training.options.conflicts, _silent),
            unseen,
        )


def check_prompts(training: Training) -> None:
    """Raise `DataError` where there are fewer prompts than folds."""
    groups = {sample.group for sample in _pool(training).samples}
    if len(groups) < (k := training.options.cross_fit):
        raise DataError(f"--cross-fit {k}: there are {len(groups)} prompts")


def _given_parts(training: Training) -> set[str]:
    """Return the splits that have sources of their own."""
    return {source["part"] for source in training.data.get("sources", ())}


def _pool(training: Training) -> Dataset:
    """Return all rows of the training sets."""
    given = _given_parts(training)
    parts = [training.train]
    parts += [] if "val" in given else [training.val]
    parts += [] if "test" in given else [training.test]
    return _concatenate(parts)


def _val_groups(groups: set[str], share: float, training: Training) -> set[str]:
    ordered = sorted(groups, key=lambda group: seeded_hash("val", group, training.seed))
    return set(ordered[: max(1, round(share * len(ordered)))])


def _prefixed(say: Callable[[str], None], title: str) -> Callable[[str], None]:
    return lambda line: say(f"{title}: {line}")


def _silent(_: str) -> None:
    """Print nothing: the fit of the same rows says it."""


def _concatenate(datasets: Sequence[Dataset]) -> Dataset:
    return replace(
        datasets[0],
        samples=[sample for dataset in datasets for sample in dataset.samples],
        ground_truth=[truth for dataset in datasets for truth in dataset.ground_truth],
    )


def _select(dataset: Dataset, groups: set[str]) -> Dataset:
    """Return the rows of some groups."""
    rows = zip(dataset.samples, dataset.ground_truth, strict=True)
    kept = [row for row in rows if row[0].group in groups]
    return replace(
        dataset,
        samples=[sample for sample, _ in kept],
        ground_truth=[truth for _, truth in kept],
    )


def _fold_costs(
    folder: Path,
    index: int,
    fold: FoldData,
    name: str,
    fit: FitBase,
) -> OutOfFold:
    """Return the costs of a fold by one kind, fitted unless they are there already."""
    path = folder / f"fold-{index + 1}-{name.replace(' ', '-')}.json"
    say = fold.training.say
    if path.is_file():
        say(f"{name} measured already")
    else:
        say(f"{name} on {len(fold.pairs)} pairs, {len(fold.singles)} single responses")
        out = fold.training.out
        out.mkdir(parents=True, exist_ok=True)
        _write_fold(path, fit(fold.training, fold.singles), fold.singles)
        # A fold's model is for measuring: it has not learnt from all rows.
        shutil.rmtree(out, ignore_errors=True)
    return _read_fold(path, fold)


def _key(pair: PreferencePair) -> str:
    return " ".join(pair.contents)


def _write_fold(
    path: Path, fitted: FittedBase, singles: Sequence[SingleResponse]
) -> None:
    contents = [single.content for single in singles]
    pairs = zip(fitted.pairs, fitted.costs.tolist(), strict=True)
    stored = {
        "pairs": {_key(pair): costs for pair, costs in pairs},
        "singles": dict(zip(contents, fitted.single_costs.tolist(), strict=True)),
        "calibration": fitted.platt.as_json() if fitted.platt else None,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    part.replace(path)  # a fold's file is there if and only if it is whole


def _read_fold(path: Path, fold: FoldData) -> OutOfFold:
    unknown = (np.nan, np.nan)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        by_pair = stored["pairs"]
        costs = np.array(
            [by_pair.get(_key(pair), unknown) for pair in fold.pairs], dtype=float
        ).reshape(-1, 2)
        single_costs = np.array([stored["singles"][s.content] for s in fold.singles])
        platt = platt_from_json(stored["calibration"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{path} is damaged: remove it, and train again with --resume"
        ) from None
    p = platt.probability(costs) if platt else np.full_like(costs, np.nan)
    return OutOfFold(costs, p, single_costs)


def _join(parts: Sequence[OutOfFold]) -> OutOfFold:
    return OutOfFold(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("costs", "probability", "single_costs")
        )
    )


def _write_predictions(
    path: Path, folds: Sequence[FoldData], joined: dict[str, OutOfFold]
) -> None:
    """Write a line for each pair and single response: hashes, labels, costs."""
    numbered = list(enumerate(folds, 1))
    lines = [_pair_line(i, pair) for i, fold in numbered for pair in fold.pairs]
    lines += [_single_line(i, s) for i, fold in numbered for s in fold.singles]
    for name, result in joined.items():
        columns = [*result.costs.tolist(), *([x] for x in result.single_costs.tolist())]
        for line, costs in zip(lines, columns, strict=True):
            known = [None if x != x else x for x in costs]  # noqa: PLR0124 - NaN
            line.setdefault("costs", {})[name] = known
    part = path.with_suffix(".part")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _pair_line(fold: int, pair: PreferencePair) -> dict[str, Any]:
    return {
        "fold": fold,
        "group": pair.group,
        "contents": pair.contents,
        "p_first": pair.p_first,
        "unsafe": pair.unsafe,
        "rows": pair.rows,
    }


def _single_line(fold: int, single: SingleResponse) -> dict[str, Any]:
    return {
        "fold": fold,
        "group": single.group,
        "contents": [single.content],
        "unsafe": [single.unsafe],
        "rows": single.labels,
    }


def _measures(
    kind: str,
    baseline: str,
    joined: dict[str, OutOfFold],
    pairs: Sequence[PreferencePair],
    singles: Sequence[SingleResponse],
) -> list[Measure]:
    """Return measures of the model, of the baseline, and paired differences."""
    costs = np.array([result.costs for result in joined.values()])
    # A network may leave out pairs whose responses are one text within its length:
    # what is compared is what all have.
    known = ~np.isnan(costs).any(axis=(0, 2))
    labels = pair_labels([p for p, k in zip(pairs, known, strict=True) if k])
    model = joined[kind]
    measures = _pooled_measures(labels, model.costs[known], kind)
    if not np.isnan(model.probability[known]).any():
        measures += probability_measures(labels, model.probability[known], split=PART)
    measures += natural_mix_measures(singles, model.single_costs, who=kind, split=PART)
    if not baseline:
        return measures
    other = joined[baseline]
    measures += _pooled_measures(labels, other.costs[known], baseline)
    measures += natural_mix_measures(
        singles, other.single_costs, who=baseline, split=PART
    )
    return measures + difference_measures(
        labels,
        (other.costs[known], model.costs[known]),
        singles,
        (other.single_costs, model.single_costs),
        who=f"{kind} - {baseline}",
        split=PART,
    )


def _pooled_measures(labels: PairLabels, costs: Array, who: str) -> list[Measure]:
    """Return the measures of costs that several models gave, one a fold."""
    measures = cost_measures(labels, costs, who=who, split=PART)
    across = ("auroc", "kendall_tau_b")  # they compare costs of different models
    return [
        replace(m, note=f"{m.note}; costs of all folds' models on one scale")
        if m.metric in across
        else m
        for m in measures
    ]
