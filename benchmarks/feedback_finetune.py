"""Teach the embedded guard from what it let through, by four recipes, and compare.

    SAFEBENCH_DATA=DIR python benchmarks/feedback_finetune.py WORK RESULT.json

Responses are replayed from BeaverTails and DiaSafety; the guard judges both prompts and
responses. WORK keeps all folders: started again, the script goes on where it was
interrupted. RESULT holds numbers alone, no text of any prompt.
"""

from __future__ import annotations

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

from safebench.plugins import Plugins
from safebench_feedback_finetune import collect, evaluate, train
from safebench_feedback_finetune.measures import METRICS
from safebench_feedback_finetune.options import CollectOptions
from safebench_feedback_finetune.train_options import EvaluateOptions, TrainOptions

DATASETS = ("beavertails:30k_test", "diasafety:validation")
BENIGN = ("toxic_chat:train",)
OTHERS = ("toxic_chat:test", "xstest")
# Rate, steps and margin were set after two short runs with another seed (1), on val.
# The embedded guard is far smaller than those that the default rate is meant for.
COMMON: dict[str, Any] = {
    "seed": 2,
    "learning_rate": 1e-3,
    "epochs": 2.0,
    "eval_steps": 40,
    "alphas": (0.0, 0.5, 1.0),
    "cap_margin": 0.03,
    "recall_loss": 0.02,
    "delta": 0.05,
}
LAST: dict[str, Any] = {"keep": "last", "patience": 0}
RECIPES: dict[str, dict[str, Any]] = {
    "unsafe_only": {"recipe": "unsafe_only", **LAST},
    "balanced": {"recipe": "balanced", **LAST},
    "ours_without_kl": {"recipe": "ours_without_kl"},
    "ours": {"recipe": "ours"},
}
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


def main(work: Path, result: Path) -> None:
    """Collect, train and measure each recipe, and write the numbers."""
    if not os.environ.get("SAFEBENCH_DATA"):
        sys.exit("SAFEBENCH_DATA names no folder with the datasets")
    started = time.monotonic()
    plugins, say = Plugins(), partial(click.echo, err=True)
    collected = work / "collected"
    collect.run(CollectOptions(dataset=DATASETS, out=str(collected)), plugins, say)
    recipes = {}
    for name, own in RECIPES.items():
        say(f"--- {name}")
        out = work / name
        given = COMMON | own
        train.run(
            TrainOptions(
                collected=str(collected), out=str(out), benign=BENIGN, **given
            ),
            plugins,
            say,
        )
        evaluate.run(
            EvaluateOptions(improved=str(out), ood=OTHERS, ungated=True), plugins, say
        )
        recipes[name] = facts(out) | {"options": own}
    packages = {name: version(name) for name in PACKAGES}
    counts = read(collected / "manifest.json")["counts"]
    content = {
        "command": f"python benchmarks/feedback_finetune.py WORK {result.name}",
        "versions": {"python": platform.python_version(), **packages},
        "guard": read(collected / "manifest.json")["guard"],
        "datasets": DATASETS,
        "benign": BENIGN,
        "options": COMMON,
        "contamination": CONTAMINATION,
        "collected": counts,
        "seconds_of_this_start": round(time.monotonic() - started),
        "gates": {name: gate_of(found) for name, found in recipes.items()},
        "table": table(recipes),
        "recipes": recipes,
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(content["table"], indent=1))


def facts(out: Path) -> dict[str, Any]:
    """Return what training, gate and evaluation of one recipe came to."""
    found = read(out / "safebench.json")
    names = ("parts", "parts_hash", "benign", "learned", "promise", "gate", "alarms")
    measured = read(out / "evaluation.json")
    return {name: found[name] for name in names} | {"evaluation": measured["sets"]}


def gate_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return the gate's outcome for one recipe, and what it rests on."""
    names = ("status", "candidate", "reasons", "fpr", "fpr_ucb", "gained", "lost")
    return {name: found["gate"][name] for name in names}


def table(recipes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each set, recipe and contender; base and control once."""
    lines = []
    seen = set()
    for recipe, found in recipes.items():
        for one in found["evaluation"]:
            for name, values in one["contenders"].items():
                shared = name in (evaluate.BASE, evaluate.CONTROL)
                who = name if shared else f"{recipe}, {name}"
                if (one["name"], who) in seen:
                    continue
                seen.add((one["name"], who))
                lines.append(line(one, who, values))
    return lines


def line(found: dict[str, Any], who: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of one contender on one set."""
    rounded = {
        name: [round_or_none(values[name][end]) for end in ("value", "low", "high")]
        for name in METRICS
    }
    prevented = values.get("prevention")
    return {
        "set": found["name"],
        "task": found["task"],
        "n": found["n"],
        "harmful": found["harmful"],
        "who": who,
        **rounded,
        "alarms": values["alarms"],
        **({"prevention": prevented} if prevented else {}),
    }


def round_or_none(value: float | None) -> float | None:
    """Return a value with four digits, None for none."""
    return None if value is None else round(value, 4)


def read(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - script, WORK, RESULT
        sys.exit(f"usage: {sys.argv[0]} WORK RESULT.json")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
