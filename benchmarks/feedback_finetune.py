"""Fine-tune the embedded guard on what it let through, by six recipes, and compare.

    SAFEBENCH_DATA=DIR python benchmarks/feedback_finetune.py WORK RESULT.json --seeds 3

Responses are replayed from BeaverTails and DiaSafety; the guard judges both prompts and
responses. With ``--seeds`` each recipe is trained as many times on the same parts; the
table is that of the first seed, with mean and range over all of them beside it. WORK
keeps all folders, so that an interrupted script can be started again. RESULT holds
numbers only, no text of any prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from safebench import Plugins
from safebench_feedback_finetune.collect import collection_loop
from safebench_feedback_finetune.evaluate import evaluation
from safebench_feedback_finetune.evaluate.measurement import METRICS
from safebench_feedback_finetune.options import (
    CollectOptions,
    EvaluateOptions,
    FeedbackTrainOptions,
)
from safebench_feedback_finetune.train import training_run

DATASETS = ("beavertails:30k_test", "diasafety:validation")
BENIGN = ("toxic_chat:train",)
OTHERS = ("toxic_chat:test", "xstest")
# The weights of KL, of benign labels and of hard negatives, and the one epoch, were
# chosen by cross-validation over train and val of this split (seed 2): many settings on
# the guard's last hidden states, held fixed, then two on the LoRA itself, in two folds.
# There F1 under the cap rose from .708 (threshold alone) to .718 at half the LoRA; of
# 231 prompts that slipped through 51 were stopped, not 0, and with them 59 of 832
# harmless ones (thresholds were chosen on the rows that were counted, for both). No
# prompt of calib or test was looked at. The test part had been measured once before,
# with KL 1, two epochs and no labels.
# The embedded guard is far smaller than those that the default rate is meant for.
COMMON: dict[str, Any] = {
    "seed": 2,
    "split_seed": 2,
    "benign_train": 0.25,
    "benign_weight": 0.5,
    "hard_weight": 1.0,
    "kl": 0.1,
    "learning_rate": 1e-3,
    "epochs": 1.0,
    "eval_steps": 40,
    "cap_margin": 0.03,
    "recall_loss": 0.02,
    "delta": 0.05,
}
LAST: dict[str, Any] = {"keep": "last", "patience": 0, "epochs": 2.0}
RECIPES: dict[str, dict[str, Any]] = {
    "unsafe_only": {"recipe": "unsafe_only", **LAST},
    "balanced": {"recipe": "balanced", **LAST},
    "labels_only": {"recipe": "labels_only"},
    "feedback_only": {"recipe": "ours", "benign_weight": 0.0},
    "ours_without_kl": {"recipe": "ours_without_kl"},
    "ours": {"recipe": "ours"},
}
NOTES = (
    "control: the base guard, its threshold chosen on val under the same rules",
    "labels_only: people's harmless prompts, no feedback; feedback_only: the reverse",
    "settings were chosen by cross-validation over train and val of this split",
    "the test part had been measured once before, with other settings",
)
# What the embedded guard learnt from: plugins/llamaguard_marginal/tiny_guard.
CONTAMINATION = {
    "beavertails:30k_test": "never trained on",
    "diasafety:validation": "never trained on; DiaSafety's training split was",
    "toxic_chat": "never trained on; its test split was looked at",
    "xstest": "never trained on; settings were chosen while looking at it",
}
PACKAGES = (
    "safebench",
    "safebench-feedback-finetune",
    "torch",
    "transformers",
    "peft",
    "scikit-learn",
)


def main(work: Path, result: Path, seeds: int) -> None:
    """Collect, train and evaluate each recipe, and write the numbers."""
    if not os.environ.get("SAFEBENCH_DATA"):
        sys.exit("SAFEBENCH_DATA names no folder with the datasets")
    started = time.monotonic()
    plugins, say = Plugins(), partial(click.echo, err=True)
    collected = work / "collected"
    collection_loop.run(
        CollectOptions(dataset=DATASETS, out=str(collected)), plugins, say
    )
    repeats = [
        {
            name: train_and_evaluate(work, name, options, COMMON["seed"] + i, plugins)
            for name, options in RECIPES.items()
        }
        for i in range(seeds)
    ]
    recipes = repeats[0]
    manifest = read(collected / "manifest.json")
    seed_flag = f" --seeds {seeds}" if seeds > 1 else ""
    packages = {name: version(name) for name in PACKAGES}
    content = {
        "command": (
            f"python benchmarks/feedback_finetune.py WORK {result.name}{seed_flag}"
        ),
        "versions": {"python": platform.python_version(), **packages},
        "guard": manifest["guard"],
        "datasets": DATASETS,
        "benign": BENIGN,
        "options": COMMON,
        "notes": NOTES,
        "contamination": CONTAMINATION,
        "collected": manifest["counts"],
        "seconds_of_this_start": round(time.monotonic() - started),
        "gates": {name: gate_of(record) for name, record in recipes.items()},
        "table": table(recipes),
        "seeds": over_seeds(repeats),
        "recipes": recipes,
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(content["table"], indent=1))


def train_and_evaluate(
    work: Path, name: str, recipe: dict[str, Any], seed: int, plugins: Plugins
) -> dict[str, Any]:
    """Train one recipe with one seed, evaluate it, and return its record."""
    say = partial(click.echo, err=True)
    first = seed == COMMON["seed"]
    out = work / (name if first else f"{name}-seed{seed}")
    say(f"--- {out.name}")
    options = COMMON | recipe | {"seed": seed, "collected": str(work / "collected")}
    training_run.run(
        FeedbackTrainOptions(out=str(out), benign=BENIGN, **options), plugins, say
    )
    # Of further seeds only the values are reported: their intervals need few draws.
    draws = 2000 if first else 20
    evaluation.run(
        EvaluateOptions(improved=str(out), ood=OTHERS, ungated=True, draws=draws),
        plugins,
        say,
    )
    return read_record(out) | {"options": recipe}


def read_record(out: Path) -> dict[str, Any]:
    """Return what the files of a training and its evaluation say of one recipe."""
    manifest = read(out / "safebench.json")
    names = ("parts", "parts_hash", "benign", "learned", "promise", "gate", "alarms")
    sets = read(out / "evaluation.json")["sets"]
    return {name: manifest[name] for name in names} | {"evaluation": sets}


def gate_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the certificate of one recipe, with the numbers behind it."""
    names = ("status", "candidate", "reasons", "fpr", "fpr_ucb", "gained", "lost")
    return {name: record["gate"][name] for name in names}


def table(recipes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each set, recipe and guard; base and control once."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for recipe, record in recipes.items():
        for set_record in record["evaluation"]:
            for name, values in set_record["contenders"].items():
                is_shared = name in (evaluation.BASE, evaluation.CONTROL)
                who = name if is_shared else f"{recipe}, {name}"
                key = set_record["name"], who
                lines.setdefault(key, line(set_record, who, values))
    return list(lines.values())


def over_seeds(repeats: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return mean and range of each number over the seeds, and all certificates.

    A rejection leaves no improved guard: `seeds` counts the trainings that have one.
    """
    by_guard: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for recipes in repeats:
        for row in table(recipes):
            by_guard.setdefault((row["set"], row["who"]), []).append(row)
    lines = [
        {"set": name, "who": who, "seeds": len(rows)}
        | {metric: spread([row[metric][0] for row in rows]) for metric in METRICS}
        for (name, who), rows in by_guard.items()
    ]
    gates = {
        name: [gate_of(recipes[name]) for recipes in repeats] for name in repeats[0]
    }
    return {"n": len(repeats), "gates": gates, "table": lines}


def spread(values: list[float | None]) -> dict[str, float] | None:
    """Return mean, lowest and highest of the known values, None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = round(sum(known) / len(known), 4)
    return {"mean": mean, "low": min(known), "high": max(known)}


def line(
    set_record: dict[str, Any], who: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Return the numbers of one guard on one set."""
    rounded = {
        name: [round_or_none(values[name][key]) for key in ("value", "low", "high")]
        for name in METRICS
    }
    prevention = values.get("prevention")
    return {
        "set": set_record["name"],
        "task": set_record["task"],
        "n": set_record["n"],
        "harmful": set_record["harmful"],
        "who": who,
        **rounded,
        "alarms": values["alarms"],
        **({"prevention": prevention} if prevention else {}),
    }


def round_or_none(value: float | None) -> float | None:
    """Return a value with four digits, None for none."""
    return None if value is None else round(value, 4)


def read(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("result", type=Path, metavar="RESULT")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each recipe")
    parsed = parser.parse_args()
    if parsed.seeds < 1:
        parser.error(f"--seeds: 1 or more, got {parsed.seeds}")
    return parsed


if __name__ == "__main__":
    command_line = arguments()
    main(command_line.work, command_line.result, command_line.seeds)
