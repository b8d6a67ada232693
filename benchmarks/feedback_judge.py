"""Feedback of a judge that people's labels trained, against its control: registered.

    SAFEBENCH_DATA=DIR python benchmarks/feedback_judge.py prepare WORK
    SAFEBENCH_DATA=DIR python benchmarks/feedback_judge.py run WORK RESULT.json

``benchmarks/registered/feedback.yaml`` names recipe, seeds, truth and measure.
`prepare` trains the judge on rows that share no cluster with any collected prompt,
collects, and prints the hashes that the file has to hold (`inputs`); no guard is
trained and nothing measured. `run` refuses unless the file is committed, trains once
for each seed, evaluates, and writes numbers: no text of any prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml

from safebench import Plugins
from safebench.datasets import load_dataset, resolve_dataset
from safebench_feedback_finetune.collect import collection_loop
from safebench_feedback_finetune.collect.collection_folder import prompt_id
from safebench_feedback_finetune.collect.collection_input import qualified_group
from safebench_feedback_finetune.collect.near_duplicates import near_duplicate_clusters
from safebench_feedback_finetune.evaluate import evaluation
from safebench_feedback_finetune.evaluate.held_out import held_out_sets
from safebench_feedback_finetune.evaluate.measurement import HARM_RATE
from safebench_feedback_finetune.guard_loading import load_adapter, load_verdict_scorer
from safebench_feedback_finetune.options import (
    CollectOptions,
    EvaluateOptions,
    FeedbackTrainOptions,
)
from safebench_feedback_finetune.registration import inputs_of, read_registration
from safebench_feedback_finetune.train import training_run
from safebench_feedback_finetune.train.score_cache import ScoreCache
from safebench_feedback_finetune.train.training_folder import TRAINED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.records import Dataset

    Array = np.ndarray[Any, Any]

REGISTRATION = Path(__file__).parent / "registered" / "feedback.yaml"
PAIR_COLUMNS = ("response_0", "response_1")
DRAWS = 2000
SHOWN, NOT_SHOWN = "shown", "not shown"
PACKAGES = (
    *("safebench", "safebench-feedback-finetune", "safebench-cost-model"),
    *("torch", "transformers", "peft", "scikit-learn"),
)


def prepare(work: Path) -> None:
    """Train the judge, collect with it, and print the hashes to register."""
    content = yaml.safe_load(REGISTRATION.read_text(encoding="utf-8"))
    plugins = Plugins()
    judge = train_judge(work, content, plugins)
    collect(work, content, judge, plugins)
    options = training_options(work, content, content["seeds"][0], "")
    training = training_run.TrainingRun(options, plugins, say)
    manifest = {
        "identity": training.identity,
        "collected": {"identity": training.collection["identity"]},
        "parts_hash": training.split().digest(),
    }
    click.echo(yaml.safe_dump({"inputs": inputs_of(manifest)}))


def train_judge(work: Path, content: dict[str, Any], plugins: Plugins) -> Path:
    """Write the judge's rows and train it, unless it is there; return its folder."""
    training, out = content["judge_training"], work / "judge"
    if (out / "safebench.json").is_file():
        return out
    work.mkdir(parents=True, exist_ok=True)
    files = independent_rows(work, training, content["collect"]["dataset"], plugins)
    command = [sys.executable, "-m", "safebench", "train", training["trainer"]]
    for flag, name in (("-d", "pairs"), ("--singles", "singles")):
        if name in files:
            command += [flag, str(files[name])]
    for name, value in training["options"].items():
        command += [f"--{name}", str(value)]
    subprocess.run([*command, "--out", str(out)], check=True)  # noqa: S603 - our own
    return out


def independent_rows(
    work: Path, training: dict[str, Any], collected: Sequence[str], plugins: Plugins
) -> dict[str, Path]:
    """Write the rows that share no cluster with a prompt that is collected."""
    read = partial(read_dataset, plugins=plugins)
    held = [row for term in collected for row in rows_of(read(term))]
    files = {}
    for name in ("pairs", "singles"):
        rows = [row for term in training.get(name, ()) for row in rows_of(read(term))]
        if not rows:
            continue
        kept = without_clusters(rows, held)
        lines = pair_lines(kept) if name == "pairs" else map(single_line, kept)
        files[name] = work / f"judge-{name}.jsonl"
        text = "".join(json.dumps(line) + "\n" for line in lines)
        files[name].write_text(text, encoding="utf-8")
        say(f"judge, {name}: {len(kept)} of {len(rows)} rows are like no prompt here")
    return files


def read_dataset(term: str, plugins: Plugins) -> Dataset:
    """Return a dataset by name."""
    root = os.environ.get("SAFEBENCH_DATA")
    return load_dataset(resolve_dataset(term, plugins, data_root=root), say=say)


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    """Return prompt, response, label, pair and group of labelled responses."""
    rows = []
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        if [turn.role for turn in sample.turns] != ["user", "assistant"]:
            continue
        if truth.label.value is None:
            continue
        prompt, response = (turn.text for turn in sample.turns)
        group = qualified_group(dataset, sample, prompt_id(prompt))
        pair = (dataset.label, truth.pair[0]) if truth.pair else None
        safer = truth.pair is not None and truth.pair[1] == "safer"
        rows.append(
            {
                "prompt": prompt,
                "response": response,
                "unsafe": truth.label.value,
                "group": group,
                "pair": pair,
                "safer": safer,
            }
        )
    return rows


def without_clusters(
    rows: Sequence[dict[str, Any]], held: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the rows whose prompt is in no cluster with one of `held`."""
    both = [*held, *rows]
    clusters = near_duplicate_clusters(
        [row["prompt"] for row in both], [[row["group"]] for row in both]
    ).tolist()
    taken = set(clusters[: len(held)])
    kept = zip(rows, clusters[len(held) :], strict=True)
    return [row for row, cluster in kept if cluster not in taken]


def pair_lines(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return pairs as rows of preference data."""
    pairs: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        pairs.setdefault(row["pair"], []).append(row)
    lines = []
    for pair in pairs.values():
        first, second = pair
        lines.append(
            {
                "prompt": first["prompt"],
                "response_0": first["response"],
                "response_1": second["response"],
                "is_response_0_safe": not first["unsafe"],
                "is_response_1_safe": not second["unsafe"],
                "safer_response_id": int(second["safer"]),
            }
        )
    return lines


def single_line(row: dict[str, Any]) -> dict[str, Any]:
    """Return a response that was labelled alone as a row of a file."""
    label = "unsafe" if row["unsafe"] else "safe"
    return {"prompt": row["prompt"], "response": row["response"], "label": label}


def collect(
    work: Path, content: dict[str, Any], judge: Path, plugins: Plugins
) -> dict[str, Any]:
    """Collect, and return the manifest; refuses a judge that saw a prompt."""
    files = sorted(str(path) for path in work.glob("judge-*.jsonl"))
    options = CollectOptions(
        **content["collect"] | {"dataset": tuple(content["collect"]["dataset"])},
        output_guard=f"{content['judge_training']['classifier']},model={judge}",
        judge_trained_on=tuple(files),
        out=str(work / "collected"),
        data_root=os.environ.get("SAFEBENCH_DATA"),
    )
    collection_loop.run(options, plugins, say)
    manifest = read(work / "collected" / "manifest.json")
    facts = manifest["judge"]
    if facts["seen"] or facts["trained_on_unknown"]:
        sys.exit(
            f"the judge saw {len(facts['seen'])} prompts; unknown: "
            f"{facts['trained_on_unknown']}"
        )
    return manifest


def training_options(
    work: Path, content: dict[str, Any], seed: int, registration: str
) -> FeedbackTrainOptions:
    """Return the registered recipe with one seed."""
    recipe = content["recipe"] | {"benign": tuple(content["recipe"]["benign"])}
    return FeedbackTrainOptions(
        **recipe,
        seed=seed,
        collected=str(work / "collected"),
        out=str(work / f"seed{seed}"),
        data_root=os.environ.get("SAFEBENCH_DATA"),
        registration=registration,
    )


def run(work: Path, result: Path) -> None:
    """Train and evaluate each seed as registered, and write the numbers."""
    registration = read_registration(REGISTRATION)
    content, plugins = registration.content, Plugins()
    judge = train_judge(work, content, plugins)
    collected = collect(work, content, judge, plugins)
    outs = []
    for seed in content["seeds"]:
        say(f"--- seed {seed}")
        options = training_options(work, content, seed, str(REGISTRATION))
        training_run.run(options, plugins, say)
        evaluated = content.get("evaluate") or {}
        evaluation.run(
            EvaluateOptions(
                **evaluated | {"ood": tuple(evaluated.get("ood", ()))},
                improved=options.out,
                ungated=True,
                data_root=os.environ.get("SAFEBENCH_DATA"),
                registration=str(REGISTRATION),
            ),
            plugins,
            say,
        )
        outs.append(Path(options.out))
    judge_facts = collected["judge"]
    seen = judge_facts.pop("seen")
    packages = {name: version(name) for name in PACKAGES}
    differences = mean_differences(outs)
    low = differences[content["measure"]]["low"]
    record = {
        "command": f"python benchmarks/feedback_judge.py run WORK {result.name}",
        "versions": {"python": platform.python_version(), **packages},
        "registration": registration.to_json() | {"inputs": content["inputs"]},
        "recipe": content["recipe"],
        "judge_training": content["judge_training"],
        "judge": judge_facts | {"prompts_seen": len(seen)},
        "collected": collected["counts"],
        "differences": differences,
        "outcome": SHOWN if low > 0 else NOT_SHOWN,
        "seeds": [seed_record(out) for out in outs],
        "cpu_seconds_of_this_start": round(
            sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        ),
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps({"outcome": record["outcome"], **differences}, indent=1))


def seed_record(out: Path) -> dict[str, Any]:
    """Return what one training and its evaluation say."""
    manifest, evaluated = read(out / "safebench.json"), read(out / "evaluation.json")
    names = ("parts", "learned", "promise", "gate", "alarms")
    return {
        "seed": manifest["identity"]["options"]["seed"],
        **{name: manifest[name] for name in names},
        "sets": evaluated["sets"],
        "notes": evaluated["notes"],
    }


def mean_differences(outs: Sequence[Path]) -> dict[str, Any]:
    """Return the delivered guard minus the control by people's labels, over the seeds.

    Delivered is the certified guard, or the base guard where the gate rejects. The
    value is the mean of the seeds' differences; its 95 % interval is that of the mean
    under resampling of whole clusters, the same ones for all seeds (percentiles).
    """
    by_seed = [decided(out) for out in outs]
    y, groups = by_seed[0]["y"], by_seed[0]["groups"]
    assert all((seed["y"] == y).all() for seed in by_seed), "seeds differ in the test"
    codes = np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    n_groups = int(codes.max()) + 1
    draws = [
        np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[codes]
        for _ in range(DRAWS)
    ]
    measures: dict[str, Callable[[dict[str, Any], Array], float]] = {
        "auroc": lambda guard, w: weighted_auroc(y, guard["scores"], w),
        "f1": lambda guard, w: rates(y, guard["decisions"], w)[0],
        "recall": lambda guard, w: rates(y, guard["decisions"], w)[1],
        "fpr": lambda guard, w: rates(y, guard["decisions"], w)[2],
    }
    found = {}
    for name, measure in measures.items():
        per_seed = [
            np.asarray(
                [
                    measure(seed["delivered"], w) - measure(seed["control"], w)
                    for w in (np.ones(len(y)), *draws)
                ]
            )
            for seed in by_seed
        ]
        means = np.mean(per_seed, axis=0)
        low, high = np.nanpercentile(means[1:], [2.5, 97.5])
        found[name] = {
            "value": float(means[0]),
            "low": float(low),
            "high": float(high),
            "seeds": [float(values[0]) for values in per_seed],
        }
    return found | {"n": len(y), "harmful": int(y.sum()), "clusters": n_groups}


def decided(out: Path) -> dict[str, Any]:
    """Return scores and decisions of the control and of what was delivered."""
    manifest = read(out / "safebench.json")
    people = held_out_sets(out, manifest).sets[0]
    assert people.task == HARM_RATE, "no people's labels"
    options = FeedbackTrainOptions(
        **manifest["identity"]["options"]
        | {"benign": ("none",), "alphas": (1.0,), "set": ()},
        collected="none",
        out="none",
    )
    scorer = load_verdict_scorer(options)
    load_adapter(scorer.network, out / TRAINED_FOLDER, scorer.label)
    cache, gate = ScoreCache(scorer), manifest["gate"]
    delivered = {"alpha": 0.0, "threshold": manifest["threshold"]}
    if gate["status"] == "passed":
        delivered = gate["candidate"]
    control = manifest["promise"]["control"] | {"alpha": 0.0}
    found: dict[str, Any] = {"y": np.asarray(people.y), "groups": people.groups}
    for name, guard in (("control", control), ("delivered", delivered)):
        scores = cache.scores(guard["alpha"], people.prompts)
        found[name] = {"scores": scores, "decisions": scores >= guard["threshold"]}
    return found


def weighted_auroc(y: Array, scores: Array, weights: Array) -> float:
    """Return P(score of a positive > of a negative), ties one half, by weights."""
    values, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, weights=weights * y, minlength=len(values))
    negative = np.bincount(place, weights=weights * ~y, minlength=len(values))
    below = np.concatenate([[0.0], np.cumsum(negative)[:-1]])
    total = positive.sum() * negative.sum()
    if not total:
        return float("nan")
    return float((positive * (below + negative / 2)).sum() / total)


def rates(y: Array, decisions: Array, weights: Array) -> tuple[float, float, float]:
    """Return F1, recall and false-positive rate of weighted decisions."""
    hit = float((weights * (y & decisions)).sum())
    false = float((weights * (~y & decisions)).sum())
    n_pos, n_neg = float((weights * y).sum()), float((weights * ~y).sum())
    f1 = 2 * hit / (hit + false + n_pos) if n_pos else float("nan")
    return f1, hit / n_pos if n_pos else float("nan"), false / max(n_neg, 1e-12)


def read(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def say(text: str) -> None:
    """Print a line for people."""
    click.echo(text, err=True)


def main() -> None:
    """Read the command line, and prepare or run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("prepare", "run"))
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("result", type=Path, nargs="?", metavar="RESULT")
    arguments = parser.parse_args()
    if not os.environ.get("SAFEBENCH_DATA"):
        parser.error("SAFEBENCH_DATA names no folder with the datasets")
    if arguments.step == "prepare":
        prepare(arguments.work)
    elif arguments.result is None:
        parser.error("run WORK RESULT: where to write the numbers?")
    else:
        run(arguments.work, arguments.result)


if __name__ == "__main__":
    main()
