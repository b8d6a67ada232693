"""Train a cost model: read pairs, learn, calibrate, measure, and leave an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import set_seed

from safebench.training import Trained

from .artifact import describe, files_of
from .bases import find_model
from .layout import KIND
from .learning import free, learn
from .measures import accuracies, measure_costs
from .members import members_of
from .network import family_of, load_config
from .options import TFIDF
from .parts import read_parts
from .platt import fit_platt
from .ready import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.training import Measure, Training

    from .bases import Base
    from .measures import Told
    from .members import Member
    from .network import Family
    from .options import TrainOptions
    from .parts import Parts
    from .platt import Platt

    Array = np.ndarray[Any, np.dtype[Any]]


def fit(training: Training) -> Trained:
    """Train what the options name, and return its measures and manifest."""
    options: TrainOptions = training.options
    if options.base == TFIDF:
        from .baseline import fit_baseline

        return fit_baseline(training)
    base = find_model(options.base, options.revision)
    family = family_of(load_config(base.folder, base.label), base.label)
    if options.sft:
        from .sft import supervised

        base = supervised(training, base, family)
    members = members_of(training, files_of(family, options))
    parts = train_members(members, base, family, training)
    costs = [member.costs() for member in members]
    mean = {name: np.mean([own[name] for own in costs], axis=0) for name in costs[0]}
    unsafe = parts.val.truth.unsafe
    platt = fit_platt(mean["val"].reshape(-1), unsafe.reshape(-1))
    measures: list[Measure] = []
    for name, part in parts.measured.items():
        own = {m.name: c[name] for m, c in zip(members, costs, strict=True)}
        measures += _measures(part.truth, mean[name], own, name, platt)
    return Trained(
        classifier=KIND,
        manifest=describe(base, family, parts.encoder, training, platt),
        measures=measures,
        notes=[] if platt else ["costs on val allow no calibration: no cost_platt"],
    )


def _measures(
    truth: Told,
    mean: Array,
    own: Mapping[str, Array],
    part: str,
    platt: Platt | None,
) -> list[Measure]:
    """Return measures of the mean cost; those of members show what it gains."""
    found = measure_costs(truth, mean, who=KIND, part=part, platt=platt)
    if len(own) > 1:
        for name, costs in own.items():
            found += accuracies(truth, costs, who=name, part=part)
    return found


def train_members(
    members: Sequence[Member], base: Base, family: Family, training: Training
) -> Parts:
    """Train the members that are not finished, one after another.

    Returns the parts of the data, which all of them share.
    """
    done = [member for member in members if member.finished]
    todo = [member for member in members if member not in done]
    for member in done:
        training.say(f"{member.before}trained already")
        member.tidy()
    parts: Parts | None = None
    for member in todo or members[:1]:
        set_seed(member.seed)
        ready = prepare(base, family, training.options)
        parts = parts or read_parts(training, ready.encoder)
        if todo:
            learn(ready, member, parts, training)
        del ready
        free()
    assert parts is not None, "no members"
    return parts
