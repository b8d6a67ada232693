"""`feedback evaluate`: the base guard, its threshold re-tuned, and what was learnt.

Two questions are kept apart. `block_rate` asks of the held-out prompts of a collection
whether they draw responses that are blocked; `prompt_harm` asks of other sets what
people said of the prompts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from safebench.files import write_json
from safebench.results.store import FILE_NAME, merge_rows
from safebench.run.manifest import locked
from safebench.training.report import measures_text

from .alarms import alarms
from .asked import Asked
from .gating import truth_of
from .guards import guard_identity, open_guard
from .labelled import read_labelled
from .loading import put_adapter
from .measures import Contender, MeasuredSet, compare, measure, plain, prevention
from .report import differences_text, measures_of, prevention_text
from .rows import BLOCK_RATE, FROM_VAL, rows_of
from .trained import (
    TRAINED,
    finished,
    read_seen,
    read_test,
    refuse_other_guard,
    text_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.plugins import Plugins
    from safebench.records import Dataset
    from safebench.results import Row
    from safebench.statistics import Interval
    from safebench.training.job import Measure

    from .train_options import EvaluateOptions

    Array = np.ndarray[Any, np.dtype[Any]]
    Say = Callable[[str], None]

EVALUATION = "evaluation.json"
BASE, CONTROL, IMPROVED, UNGATED = (
    "base",
    "base re-tuned",
    "improved",
    "learnt, no gate",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a contender makes of a set."""

    contender: Contender
    scores: Array
    decided: Array


def run(options: EvaluateOptions, plugins: Plugins, say: Say) -> int:
    """Measure, write rows and numbers, show them, and return the exit code."""
    out = Path(options.improved).expanduser()
    trained = finished(out)
    refuse_other_guard(trained["identity"]["guard"], guard_identity(options))
    with locked(out):
        _measured(out, trained, options, plugins, say)
    return int(options.strict and trained["gate"]["status"] != "passed")


def _measured(
    out: Path,
    trained: Mapping[str, Any],
    options: EvaluateOptions,
    plugins: Plugins,
    say: Say,
) -> None:
    sets = [_held_out(out, trained, options), *_others(out, options, plugins, say)]
    scorer = open_guard(options)
    put_adapter(scorer.network, out / TRAINED, scorer.label)
    asked = Asked(scorer)
    contenders = contenders_of(trained, ungated=options.ungated)
    rows: list[Row] = []
    measures: list[Measure] = []
    content: dict[str, Any] = {"contenders": [asdict(one) for one in contenders]}
    content["sets"] = []
    for found, dataset in sets:
        judged = [_judge(asked, one, found) for one in contenders]
        values = [
            measure(found, one.scores, one.decided, options.draws) for one in judged
        ]
        for one, value in zip(contenders, values, strict=True):
            rows += rows_of(out.name, trained, one, found, value, dataset)
            measures += measures_of(one, found, value)
        content["sets"].append(_facts(found, judged, values, trained, options.draws))
    merge_rows(out / FILE_NAME, rows)
    write_json(out / EVALUATION, content)
    click.echo(measures_text(measures))
    click.echo(f"\n{differences_text(content['sets'])}\n")
    click.echo(f"{prevention_text(content['sets'][0])}\n")
    if IMPROVED not in [one.name for one in contenders]:
        click.echo(f"no improved guard: {why_none(trained)}")
    click.echo(f"results: {out / FILE_NAME}")


def why_none(trained: Mapping[str, Any]) -> str:
    """Return why there is no improved guard to be measured."""
    if trained["gate"]["status"] != "passed":
        return "the gate rejected what was learnt"
    return "what passed is the base guard at another threshold"


def contenders_of(trained: Mapping[str, Any], *, ungated: bool) -> list[Contender]:
    """Return who is measured; what the gate rejected is no improved guard.

    Nor is the base guard at another threshold, which the control is already. With
    `ungated` the whole LoRA at the base guard's threshold is measured as well.
    """
    usual = float(trained["threshold"])
    control = float(trained["promise"]["control"]["threshold"])
    found = [
        Contender(BASE, 0.0, usual),
        Contender(CONTROL, 0.0, control, FROM_VAL),
    ]
    gate = trained["gate"]
    chosen = gate["candidate"]
    if gate["status"] == "passed" and chosen["alpha"]:
        found.append(
            Contender(IMPROVED, chosen["alpha"], chosen["threshold"], FROM_VAL)
        )
    if ungated:
        found.append(Contender(UNGATED, 1.0, usual))
    return found


def _held_out(
    out: Path, trained: Mapping[str, Any], options: EvaluateOptions
) -> tuple[MeasuredSet, None]:
    prompts, cluster = read_test(out)
    agreement = trained["identity"]["options"]["agreement"]
    prompts = prompts[: options.eval_limit]
    known = [p for p in prompts if p.p_out]
    truth = truth_of(
        known, cluster, threshold=trained["threshold"], agreement=agreement
    )
    names = dict.fromkeys(one["name"].partition(":")[0] for one in _sources(trained))
    return MeasuredSet(
        "+".join(names), BLOCK_RATE, truth.prompts, truth.harmful, truth.groups
    ), None


def _sources(trained: Mapping[str, Any]) -> list[dict[str, Any]]:
    return trained["collected"]["sources"] or [{"name": "collected"}]


def _others(
    out: Path, options: EvaluateOptions, plugins: Plugins, say: Say
) -> list[tuple[MeasuredSet, Dataset]]:
    """Return the sets of --ood without what the training saw."""
    seen = read_seen(out)
    found = []
    for one in read_labelled(
        options.ood,
        plugins,
        say,
        training=False,
        data_root=options.data_root,
        label_map=options.label_map,
        limit=options.eval_limit,
    ):
        kept = [p for p in one.prompts if text_hash(p.text) not in seen]
        gone = len(one.prompts) - len(kept)
        note = f"{gone} prompts left out: seen in training" if gone else ""
        if note:
            say(f"{one.dataset.label}: {note}")
        y = np.asarray([bool(p.label) for p in kept])
        groups = [p.group for p in kept]
        name = one.dataset.label
        found.append(
            (MeasuredSet(name, "prompt_harm", kept, y, groups, note), one.dataset)
        )
    return found


def _judge(asked: Asked, contender: Contender, found: MeasuredSet) -> Judged:
    scores = asked.scores(contender.alpha, found.prompts)
    return Judged(contender, scores, scores >= contender.threshold)


def _facts(
    found: MeasuredSet,
    judged: Sequence[Judged],
    values: Sequence[Mapping[str, Interval]],
    trained: Mapping[str, Any],
    draws: int,
) -> dict[str, Any]:
    """Return all numbers of one set as plain values."""
    base = judged[0]
    content: dict[str, Any] = {
        "name": found.name,
        "task": found.task,
        "n": len(found.y),
        "harmful": int(found.y.sum()),
        "clusters": len(set(found.groups)),
        "note": found.note,
        "contenders": {},
    }
    for one, value in zip(judged, values, strict=True):
        facts: dict[str, Any] = {k: plain(v) for k, v in value.items()}
        facts["flagged"] = int(one.decided.sum())
        facts["alarms"] = alarms(found.y, base.decided, one.decided, one.scores)
        if one is not base:
            facts["minus"] = _differences(found, one, judged, draws)
        if found.task == BLOCK_RATE:
            facts["prevention"] = prevention(
                found.prompts,
                found.groups,
                base.decided,
                one.decided,
                threshold=trained["threshold"],
                draws=draws,
            ).to_json()
        content["contenders"][one.contender.name] = facts
    if found.task == BLOCK_RATE:
        content["datasets"] = dict(Counter(p.dataset for p in found.prompts))
    return content


def _differences(
    found: MeasuredSet, one: Judged, judged: Sequence[Judged], draws: int
) -> dict[str, Any]:
    """Return the differences to the base guard and to the control."""
    return {
        other.contender.name: compare(
            found, (other.scores, other.decided), (one.scores, one.decided), draws
        ).to_json()
        for other in judged
        if other.contender.name in (BASE, CONTROL) and other is not one
        if one.contender.name != CONTROL or other.contender.name == BASE
    }
