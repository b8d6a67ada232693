"""Train a cost model: read pairs, learn, calibrate, measure, and leave an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import set_seed

from safebench.errors import ModelError
from safebench.neural.loading import quiet
from safebench.training import Trained

from .artifact import describe, save
from .bases import find_model
from .batches import encode_pairs
from .layout import CHECKPOINTS, KIND
from .loss import PairLoss
from .measures import measure_costs, order_right, sign_right, told
from .network import family_of, load_config, score
from .options import TFIDF
from .pairs import read_pairs
from .platt import fit_platt
from .pooled import MeanCost
from .ready import prepare
from .trainer import arguments_for, build_trainer, last_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset
    from safebench.training import Training

    from .batches import EncodedPairs
    from .encode import Encoder
    from .measures import Told
    from .options import TrainOptions
    from .pairs import Pair
    from .ready import Ready

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
    set_seed(training.seed)
    ready = prepare(base, family, options)
    parts = {
        name: _read(part, ready.encoder, options, training.say)
        for name, part in (
            ("train", training.train),
            ("val", training.val),
            ("test", training.test),
        )
    }
    for name, (pairs, _) in parts.items():
        training.say(f"{name}: {len(pairs)} distinct pairs")
    learn(ready, parts["train"][1], parts["val"], training)
    return _finish(ready, parts, training)


def _read(
    part: Dataset,
    encoder: Encoder,
    options: TrainOptions,
    say: Callable[[str], None],
) -> tuple[list[Pair], EncodedPairs]:
    pairs = read_pairs(part, options.conflicts, say)
    return encode_pairs(pairs, encoder, options.conflicts, say)


def learn(
    ready: Ready,
    train: EncodedPairs,
    val: tuple[list[Pair], EncodedPairs],
    training: Training,
) -> None:
    """Train the network in place; it ends with the weights of its best evaluation."""
    options: TrainOptions = training.options
    loss = PairLoss(
        w_rank=options.w_rank,
        w_sign=options.w_sign,
        margin=options.margin,
        reg=options.reg,
        smoothing=options.smoothing,
    )
    arguments = arguments_for(
        options,
        training.out,
        pairs=len(train),
        lr=options.lr or (1e-4 if ready.lora else 2e-5),
        seed=training.seed,
        given=training.arguments,
    )
    trainer = build_trainer(
        ready.network,
        ready.collator,
        train,
        val[1],
        options=options,
        loss=loss,
        arguments=arguments,
        measure=Evaluation(told(val[0])),
        say=training.say,
    )
    checkpoint = last_checkpoint(training, CHECKPOINTS)
    with quiet():  # the bar of the training itself stays
        trainer.train(resume_from_checkpoint=checkpoint)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Turns predictions on the validation part into numbers with their intervals."""

    truth: Told

    def __call__(self, predicted: Any) -> dict[str, float]:
        """Return both accuracies with the ends of their intervals, and their mean."""
        from safebench.statistics import mean_interval

        costs = np.asarray(predicted.predictions)
        if not np.isfinite(costs).all():
            raise ModelError("training diverged: costs are no numbers; lower --lr")
        columns = {
            "sign_accuracy": sign_right(self.truth, costs),
            "ranking_accuracy": order_right(self.truth, costs),
        }
        found: dict[str, float] = {}
        for name, column in columns.items():
            got = mean_interval(column, self.truth.group)
            ends = {name: got.value, f"{name}_low": got.low, f"{name}_high": got.high}
            found |= {key: end for key, end in ends.items() if end is not None}
        found["merit"] = sum(found[name] for name in columns) / len(columns)
        return found


def costs_of_pairs(ready: Ready, encoded: EncodedPairs, batch: int) -> Array:
    """Return the costs (N, 2) of encoded pairs."""
    found = []
    for start in range(0, len(encoded), batch):
        inputs = ready.collator(encoded.pairs[start : start + batch])
        where = inputs.pop("where")
        del inputs["targets"]
        found.append(score(ready.network, [inputs])[where])
    costs: Array = torch.cat(found).numpy().astype(float)
    return costs


def _finish(
    ready: Ready,
    parts: dict[str, tuple[list[Pair], EncodedPairs]],
    training: Training,
) -> Trained:
    """Calibrate on the validation part, measure it and the test part, save."""
    costs = {
        name: costs_of_pairs(ready, parts[name][1], 2 * training.options.batch)
        for name in ("val", "test")
    }
    truth = {name: told(parts[name][0]) for name in costs}
    platt = fit_platt(costs["val"].reshape(-1), truth["val"].unsafe.reshape(-1))
    notes = [] if platt else ["costs on val allow no calibration: no cost_platt"]
    measures = [
        found
        for name in costs
        for found in measure_costs(
            truth[name], costs[name], who=KIND, part=name, platt=platt
        )
    ]
    where = save(ready.network, ready.tokenizer, training.out, lora=ready.lora)
    manifest = describe(
        base=ready.base,
        family=ready.family,
        files=where,
        pooling="mean" if isinstance(ready.network, MeanCost) else "own",
        layers=training.options.layers,
        template=ready.encoder.template,
        max_length=ready.encoder.max_length,
        platt=platt,
        out=training.out,
    )
    return Trained(classifier=KIND, manifest=manifest, measures=measures, notes=notes)
