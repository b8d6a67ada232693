"""`feedback evaluate`: the base guard, its re-tuned threshold, and the trained guard.

Two tasks are kept apart. `block_rate` asks of held-out prompts of the collection
whether they draw responses that are blocked; `prompt_harm` asks of other datasets
whether annotators call the prompts harmful.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench import echo, lock_folder, write_json
from safebench.results import RESULTS_FILE, merge_rows
from safebench.training import format_measures
from safebench_feedback_finetune.certify.collapse_checks import collapse_warnings
from safebench_feedback_finetune.certify.holdout_sets import response_labels
from safebench_feedback_finetune.collect.labelled_prompts import read_labelled_sets
from safebench_feedback_finetune.guard_loading import (
    guard_identity,
    load_adapter,
    load_verdict_scorer,
)
from safebench_feedback_finetune.train.score_cache import ScoreCache
from safebench_feedback_finetune.train.training_folder import (
    TRAINED_FOLDER,
    finished_manifest,
    read_seen_hashes,
    read_test_split,
    require_same_guard,
    text_hash,
)

from .measurement import (
    EvaluatedGuard,
    GuardDecisions,
    GuardTestSet,
    compare_guards,
    interval_to_json,
    measure_prevention,
    measure_set,
)
from .report import (
    differences_text,
    metric_records,
    prevention_text,
    result_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench import Plugins
    from safebench.metrics import Interval
    from safebench.results import Row
    from safebench.training import Measure
    from safebench_feedback_finetune.options import EvaluateOptions

    Say = Callable[[str], None]

EVALUATION_FILE = "evaluation.json"
BLOCK_RATE = "block_rate"
FROM_VALIDATION = "validation"
BASE, CONTROL, IMPROVED, UNGATED = (
    "base",
    "base re-tuned",
    "improved",
    "learnt, no gate",
)


def run(options: EvaluateOptions, plugins: Plugins, say: Say) -> int:
    """Evaluate, write rows and numbers, print them, and return the exit code."""
    out = Path(options.improved).expanduser()
    manifest = finished_manifest(out)
    require_same_guard(manifest["identity"]["guard"], guard_identity(options))
    with lock_folder(out):
        _evaluate(out, manifest, options, plugins, say)
    return int(options.strict and manifest["gate"]["status"] != "passed")


def _evaluate(
    out: Path,
    manifest: Mapping[str, Any],
    options: EvaluateOptions,
    plugins: Plugins,
    say: Say,
) -> None:
    # Data before models: a dataset that cannot be read fails at once.
    test_sets = [
        _held_out_set(out, manifest, options),
        *_ood_sets(out, options, plugins, say),
    ]
    scorer = load_verdict_scorer(options)
    load_adapter(scorer.network, out / TRAINED_FOLDER, scorer.label)
    # Base and control are one network at scale 0: their scores are computed once.
    scores = ScoreCache(scorer)
    guards = evaluated_guards(manifest, ungated=options.ungated)
    rows: list[Row] = []
    measures: list[Measure] = []
    set_records: list[dict[str, Any]] = []
    for test_set in test_sets:
        decided = [_decide(scores, guard, test_set) for guard in guards]
        metrics = [measure_set(test_set, d, options.draws) for d in decided]
        for guard, guard_metrics in zip(guards, metrics, strict=True):
            rows += result_rows(out.name, manifest, guard, test_set, guard_metrics)
            measures += metric_records(guard, test_set, guard_metrics)
        set_records.append(
            _set_record(test_set, decided, metrics, manifest, options.draws)
        )
    merge_rows(out / RESULTS_FILE, rows)
    content = {
        "contenders": [asdict(guard) for guard in guards],
        "sets": set_records,
    }
    write_json(out / EVALUATION_FILE, content)
    echo(format_measures(measures))
    echo(f"\n{differences_text(set_records)}\n")
    echo(f"{prevention_text(set_records[0])}\n")
    if IMPROVED not in [guard.name for guard in guards]:
        echo(f"no improved guard: {why_no_candidate(manifest)}")
    echo(f"results: {out / RESULTS_FILE}")


def why_no_candidate(manifest: Mapping[str, Any]) -> str:
    """Return why a training has no improved guard to evaluate."""
    if manifest["gate"]["status"] != "passed":
        return "the gate rejected what was learnt"
    return "what passed is the base guard at another threshold"


def evaluated_guards(
    manifest: Mapping[str, Any], *, ungated: bool
) -> list[EvaluatedGuard]:
    """Return the guards to evaluate: base, control, and the improved one if there is.

    Without a certificate there is no improved guard, nor if the certified one is the
    base guard at another threshold, which the control is already. With `ungated` the
    LoRA at full scale and at the base guard's threshold is evaluated as well.
    """
    base_threshold = float(manifest["threshold"])
    control_threshold = float(manifest["promise"]["control"]["threshold"])
    guards = [
        EvaluatedGuard(BASE, 0.0, base_threshold),
        EvaluatedGuard(CONTROL, 0.0, control_threshold, FROM_VALIDATION),
    ]
    gate = manifest["gate"]
    candidate = gate["candidate"]
    if gate["status"] == "passed" and candidate["alpha"]:
        guards.append(
            EvaluatedGuard(
                IMPROVED, candidate["alpha"], candidate["threshold"], FROM_VALIDATION
            )
        )
    if ungated:
        guards.append(EvaluatedGuard(UNGATED, 1.0, base_threshold))
    return guards


def _held_out_set(
    out: Path, manifest: Mapping[str, Any], options: EvaluateOptions
) -> GuardTestSet:
    """Return the test split of the collection, labelled by its responses."""
    prompts, cluster_of = read_test_split(out)
    with_responses = [p for p in prompts[: options.eval_limit] if p.p_out]
    labels = response_labels(
        with_responses,
        cluster_of,
        threshold=manifest["threshold"],
        agreement=manifest["identity"]["options"]["agreement"],
    )
    sources = manifest["collected"]["sources"] or [{"name": "collected"}]
    names = dict.fromkeys(source["name"].partition(":")[0] for source in sources)
    return GuardTestSet(
        "+".join(names), BLOCK_RATE, labels.prompts, labels.harmful, labels.groups
    )


def _ood_sets(
    out: Path, options: EvaluateOptions, plugins: Plugins, say: Say
) -> list[GuardTestSet]:
    """Return the datasets of --ood, without prompts that were in the training."""
    seen = read_seen_hashes(out)
    labelled_sets = read_labelled_sets(
        options.ood,
        plugins,
        say,
        training=False,
        data_root=options.data_root,
        label_map=options.label_map,
        limit=options.eval_limit,
    )
    test_sets = []
    for labelled in labelled_sets:
        name = labelled.dataset.label
        # By text: public sets share prompts under other ids.
        prompts = [p for p in labelled.prompts if text_hash(p.text) not in seen]
        n_seen = len(labelled.prompts) - len(prompts)
        note = f"{n_seen} prompts left out: seen in training" if n_seen else ""
        if note:
            say(f"{name}: {note}")
        test_sets.append(
            GuardTestSet(
                name=name,
                task="prompt_harm",
                prompts=prompts,
                y=np.asarray([bool(p.label) for p in prompts]),
                groups=[p.group for p in prompts],
                note=note,
                dataset=labelled.dataset,
            )
        )
    return test_sets


def _decide(
    scores: ScoreCache, guard: EvaluatedGuard, test_set: GuardTestSet
) -> GuardDecisions:
    set_scores = scores.scores(guard.alpha, test_set.prompts)
    return GuardDecisions(guard, set_scores, set_scores >= guard.threshold)


def _set_record(
    test_set: GuardTestSet,
    decided: Sequence[GuardDecisions],
    metrics: Sequence[Mapping[str, Interval]],
    manifest: Mapping[str, Any],
    draws: int,
) -> dict[str, Any]:
    """Return all numbers of one set as JSON values; `decided` begins with the base."""
    base = decided[0]
    record: dict[str, Any] = {
        "name": test_set.name,
        "task": test_set.task,
        "n": len(test_set.y),
        "harmful": int(test_set.y.sum()),
        "clusters": len(set(test_set.groups)),
        "note": test_set.note,
        "contenders": {},
    }
    for guard_decisions, guard_metrics in zip(decided, metrics, strict=True):
        facts: dict[str, Any] = {
            name: interval_to_json(interval) for name, interval in guard_metrics.items()
        }
        facts["flagged"] = int(guard_decisions.decisions.sum())
        facts["alarms"] = collapse_warnings(
            test_set.y,
            base.decisions,
            guard_decisions.decisions,
            guard_decisions.scores,
        )
        if guard_decisions is not base:
            facts["minus"] = _differences(test_set, guard_decisions, decided, draws)
        if test_set.task == BLOCK_RATE:
            facts["prevention"] = measure_prevention(
                test_set.prompts,
                test_set.groups,
                base.decisions,
                guard_decisions.decisions,
                threshold=manifest["threshold"],
                draws=draws,
            ).to_json()
        record["contenders"][guard_decisions.guard.name] = facts
    if test_set.task == BLOCK_RATE:
        record["datasets"] = dict(Counter(p.dataset for p in test_set.prompts))
    return record


def _differences(
    test_set: GuardTestSet,
    minuend: GuardDecisions,
    decided: Sequence[GuardDecisions],
    draws: int,
) -> dict[str, Any]:
    """Return a guard's differences to base and control; the control's to the base."""
    # Against the control, too: what a moved threshold alone would gain was not learnt.
    references = [BASE] if minuend.guard.name == CONTROL else [BASE, CONTROL]
    return {
        other.guard.name: compare_guards(test_set, other, minuend, draws).to_json()
        for other in decided
        if other.guard.name in references
    }
