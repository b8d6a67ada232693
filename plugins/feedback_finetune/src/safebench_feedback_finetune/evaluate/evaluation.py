"""`feedback evaluate`: the base guard, its re-tuned threshold, and the trained guard.

Three tasks are kept apart. Held-out prompts of the collection have two truths:
`harm_rate`, the first, asks whether they draw responses that people call harmful;
`block_rate` whether they draw responses that the judge blocks. `prompt_harm` asks of
other datasets whether annotators call the prompts harmful.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench import echo, lock_folder, write_json
from safebench.results import RESULTS_FILE, merge_rows
from safebench.training import Artifact, format_measures, is_main_process
from safebench_feedback_finetune.certify.collapse_checks import collapse_warnings
from safebench_feedback_finetune.collect.labelled_prompts import read_labelled_sets
from safebench_feedback_finetune.guard_loading import (
    guard_identity,
    load_adapter,
    load_verdict_scorer,
)
from safebench_feedback_finetune.registration import (
    check_evaluation,
    registration_for,
)
from safebench_feedback_finetune.train.score_cache import ScoreCache
from safebench_feedback_finetune.train.training_folder import (
    TRAINED_FOLDER,
    finished_manifest,
    read_seen_hashes,
    require_same_guard,
    test_part_hash,
    text_hash,
)

from .held_out import check_independent, held_out_sets, truths_text
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
    from safebench_feedback_finetune.registration import Registration

    Say = Callable[[str], None]

EVALUATION_FILE = "evaluation.json"
FROM_VALIDATION = "validation"
BASE, CONTROL, IMPROVED, UNGATED = (
    "base",
    "base re-tuned",
    "improved",
    "learnt, no gate",
)


def run(options: EvaluateOptions, plugins: Plugins, say: Say) -> int:
    """Evaluate, write rows and numbers, print them, and return the exit code.

    The main process of a launched group does it alone.
    """
    if not is_main_process():
        return 0
    out = Path(options.improved).expanduser()
    manifest = finished_manifest(out)
    require_same_guard(manifest["identity"]["guard"], guard_identity(options))
    # Before the test part is read, which is what registering is about.
    registration = registration_for(options.registration, manifest)
    if registration is not None:
        check_evaluation(registration, options)
    with lock_folder(out):
        _evaluate(out, manifest, options, plugins, say, registration)
        for line in Artifact(out).write_card(plugins):
            say(line)
    return int(options.strict and manifest["gate"]["status"] != "passed")


def _evaluate(
    out: Path,
    manifest: Mapping[str, Any],
    options: EvaluateOptions,
    plugins: Plugins,
    say: Say,
    registration: Registration | None,
) -> None:
    looks = _record_look(out, manifest, options, registration)
    # Data before models: a dataset that cannot be read fails at once.
    held_out = held_out_sets(out, manifest, options.eval_limit)
    if registration is not None:
        check_independent(registration, manifest, held_out)
    test_sets = [*held_out.sets, *_ood_sets(out, options, plugins, say)]
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
        set_records.append(_set_record(test_set, decided, metrics, options.draws))
    merge_rows(out / RESULTS_FILE, rows)
    content: dict[str, Any] = {
        "contenders": [asdict(guard) for guard in guards],
        "sets": set_records,
        "notes": held_out.notes,
        "looks": looks,
    }
    if registration is not None:
        content["registration"] = registration.to_json()
    write_json(out / EVALUATION_FILE, content)
    echo(f"{truths_text(held_out)}\n")
    echo(format_measures(measures))
    echo(f"\n{differences_text(set_records)}\n")
    for set_record in set_records[: len(held_out.sets)]:
        echo(f"{prevention_text(set_record)}\n")
    if registration is not None:
        echo(f"registered by {registration.file}, commit {registration.commit[:12]}")
    echo(looks["summary"])
    if IMPROVED not in [guard.name for guard in guards]:
        echo(f"no improved guard: {why_no_candidate(manifest)}")
    echo(f"results: {out / RESULTS_FILE}")


def _record_look(
    out: Path,
    manifest: Mapping[str, Any],
    options: EvaluateOptions,
    registration: Registration | None,
) -> dict[str, Any]:
    """Leave a mark of this look at the test part; return the earlier ones."""
    identity = json.dumps(manifest["identity"], sort_keys=True)
    return Artifact(out).record_look(
        f"feedback {test_part_hash(out)}",
        {
            "training": hashlib.sha256(identity.encode()).hexdigest()[:16],
            "registration": registration.sha256 if registration else None,
            "eval_limit": options.eval_limit,
        },
    )


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
    if test_set.truth:
        record["truth"] = test_set.truth
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
        if test_set.response_threshold is not None:
            facts["prevention"] = measure_prevention(
                test_set.prompts,
                test_set.groups,
                base.decisions,
                guard_decisions.decisions,
                threshold=test_set.response_threshold,
                draws=draws,
            ).to_json()
        record["contenders"][guard_decisions.guard.name] = facts
    if test_set.response_threshold is not None:
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
