"""A stack against word counts, registered before the test part was read.

    SAFEBENCH_DATA=DIR python benchmarks/cost_registered.py WORK RESULT.json

``benchmarks/registered/cost_model.yaml`` names recipe, control, sets, measures and
seeds; the script refuses unless it is committed as it is, and stores its hash. WORK
keeps what the encoder made of texts, and finished folds: started again, the script
goes on. With ``--encoder`` the fine-tuned encoder is trained too: minutes a seed.
RESULT holds numbers, and no text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml

from safebench import Plugins, TrainerSpec
from safebench.files import write_json
from safebench.metrics import mean_interval
from safebench.torch_utils import load_arrays
from safebench.training import Artifact, Training
from safebench.training.config import TrainConfig
from safebench.training.data import load_training_data
from safebench_cost_model.options import CostTrainOptions
from safebench_cost_model.train.baseline import fit_baseline
from safebench_cost_model.train.cross_fit import PART, cross_fit, fit_on_pairs
from safebench_cost_model.train.evaluation import (
    difference_interval,
    pair_labels,
    ranking_correct,
    sign_correct,
)
from safebench_cost_model.train.pairs import read_pairs
from safebench_cost_model.train.stack import StackTrainer
from safebench_cost_model.train.trainer import fit_networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.metrics import Interval
    from safebench_cost_model.train.fitted import FitBase
    from safebench_cost_model.train.pairs import PreferencePair

    Array = np.ndarray[Any, Any]

REGISTRATION = Path(__file__).parent / "registered" / "cost_model.yaml"
MEASURES = {"sign_accuracy": sign_correct, "ranking_accuracy": ranking_correct}
CHUNK = 128  # texts that an interruption costs at most
PACKAGES = (
    "safebench",
    "safebench-cost-model",
    "torch",
    "transformers",
    "scikit-learn",
)
say = partial(click.echo, err=True)


@dataclass(frozen=True, slots=True)
class Registration:
    """The registered file: its hash, and the commit that it has been in since."""

    content: dict[str, Any]
    sha256: str
    commit: str
    committed: str


def read_registration(path: Path) -> Registration:
    """Return the registration; exits unless the file is committed as it is."""
    data = path.read_bytes()
    if git(path, "show", f"HEAD:./{path.name}") != data:
        sys.exit(f"{path} is not committed as it is: commit it before anything is read")
    last = git(path, "log", "-1", "--format=%H %cI", "--", path.name).decode().split()
    content = yaml.safe_load(data)
    return Registration(content, hashlib.sha256(data).hexdigest(), last[0], last[1])


def check_work(work: Path, sha256: str) -> None:
    """Exit where WORK holds what another registration came to."""
    mark = work / "registration.sha256"
    work.mkdir(parents=True, exist_ok=True)
    before = mark.read_text(encoding="utf-8") if mark.exists() else ""
    if before != sha256 and any(work.iterdir()):
        sys.exit(f"{work} holds work of another registration: name a new folder")
    mark.write_text(sha256, encoding="utf-8")


def git(path: Path, *arguments: str) -> bytes:
    """Return what git says of a file, nothing where it knows none."""
    done = subprocess.run(  # noqa: S603 - no shell
        ["git", "-C", str(path.parent), *arguments],  # noqa: S607 - the user's own
        capture_output=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else b""


def trainings(registration: Registration, work: Path) -> list[Training]:
    """Return a training for each seed; exits where the data are not the registered."""
    content, plugins = registration.content, Plugins()
    spec = plugins.get(TrainerSpec, "cost_model")
    made = []
    for seed in content["seeds"]:
        config = TrainConfig(
            dataset=(content["pairs"],),
            test_dataset=(content["test"],),
            singles=(content["singles"],),
            split=content["split"],
            seed=seed,
        )
        data = load_training_data(spec, config, plugins, say)
        hashes = {s["part"]: s["data_hash"] for s in data.manifest["sources"]}
        if hashes != content["inputs"]:
            sys.exit(f"the data are not the registered ones: {hashes}")
        made.append(
            Training(
                name="cost_model",
                options=CostTrainOptions(**content["recipe"]),
                out=work / f"seed-{seed}",
                train=data.train,
                val=data.val,
                test=data.test,
                seed=seed,
                resume=True,
                say=say,
                data=data.manifest,
                singles=data.singles,
            )
        )
    return made


def stack_trainer(training: Training, work: Path) -> StackTrainer:
    """Return what fits stacks, with all texts embedded; those of before are read."""
    trainer = StackTrainer.of(training.options)
    parts = (training.train, training.val, training.test, training.singles)
    texts = sorted(
        {
            (sample.turns[0].text, sample.judged.text)
            for part in parts
            if part is not None
            for sample in part.samples
        }
    )
    folder = work / "embedded"
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        key = hashlib.sha256(json.dumps(chunk).encode()).hexdigest()[:16]
        path = folder / f"{key}.npz"
        if not path.exists():
            part = path.with_suffix(".part.npz")
            np.savez(part, features=trainer.texts.encoder.embed(chunk))
            part.replace(path)
            say(f"embedded {start + len(chunk)}/{len(texts)} texts")
        trainer.texts.add(chunk, load_arrays(path, "features")["features"])
    return trainer


def held_out(
    runs: Sequence[Training], arms: dict[str, FitBase]
) -> tuple[list[PreferencePair], dict[str, list[Array]]]:
    """Return the test pairs, and the costs (N, 2) of each arm by seed."""
    costs: dict[str, list[Array]] = {name: [] for name in arms}
    pairs = read_pairs(runs[0].test, "error", say)
    for training in runs:
        for name, fit in arms.items():
            say(f"held out, seed {training.seed}: {name}")
            arm = replace(training, out=training.out / name)
            rows = test_costs(arm, fit)
            costs[name].append(np.array([rows[" ".join(p.contents)] for p in pairs]))
    return pairs, costs


def test_costs(training: Training, fit: FitBase) -> dict[str, Any]:
    """Return the costs of each test pair by its contents, fitted unless stored."""
    path = training.out / "costs.json"
    if not path.exists():
        training.out.mkdir(parents=True, exist_ok=True)
        fitted = fit(training, ())
        rows = zip(fitted.pairs, fitted.costs.tolist(), strict=True)
        write_json(path, {" ".join(pair.contents): costs for pair, costs in rows})
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def compare(
    pairs: Sequence[PreferencePair], costs: dict[str, list[Array]]
) -> dict[str, Any]:
    """Return accuracies of each arm, means over seeds, and differences to control."""
    labels = pair_labels(pairs)
    repeat = np.repeat(np.arange(len(pairs)), labels.rows)
    content: dict[str, Any] = {}
    for measure, correct in MEASURES.items():
        columns = {
            name: np.mean([correct(labels, x) for x in by_seed], axis=0)
            for name, by_seed in costs.items()
        }
        for title, index in (("", np.arange(len(pairs))), (" (rows)", repeat)):
            groups = labels.group[index]
            content[measure + title] = {
                name: number(mean_interval(column[index], groups))
                | {
                    "seeds": [
                        round(float(correct(labels, x)[index].mean()), 4)
                        for x in costs[name]
                    ]
                }
                for name, column in columns.items()
            } | {
                f"{name} - control": number(
                    difference_interval(
                        columns["control"][index], column[index], groups
                    )
                )
                for name, column in columns.items()
                if name != "control"
            }
    return content


def number(interval: Interval) -> dict[str, Any]:
    """Return a value with its interval as JSON values."""
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {k: None if x is None else round(x, 4) for k, x in ends.items()}


def out_of_fold(
    training: Training, stack: StackTrainer
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the measures of all rows out of fold, by model and metric."""
    arms: dict[str, tuple[FitBase, CostTrainOptions]] = {
        "cost_stack": (stack, training.options),
        "words_singles": (
            fit_baseline,
            CostTrainOptions(base="tfidf", cross_fit=training.options.cross_fit),
        ),
    }
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, (fit, options) in arms.items():
        run = replace(training, out=training.out / "cross", options=options)
        run.out.mkdir(parents=True, exist_ok=True)
        for measure in cross_fit(run, kind, fit):
            assert measure.part == PART
            entry = {
                k: v for k, v in asdict(measure).items() if k not in ("who", "part")
            }
            content.setdefault(measure.who, {})[entry.pop("metric")] = {
                k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()
            }
    return content


def verdicts(content: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return "shown" or "not shown" for each registered set and measure."""
    differences = {
        "held_out": {
            measure: content["held_out"][measure]["stack - control"]
            for measure in MEASURES
        },
        "cross_fit": {
            measure: content["cross_fit"]["cost_stack - cost_tfidf on pairs"][measure]
            for measure in MEASURES
        },
    }
    return {
        name: {
            measure: "shown" if (x["low"] or -1) > 0 else "not shown"
            for measure, x in by_measure.items()
        }
        for name, by_measure in differences.items()
    }


def main(work: Path, result: Path, *, with_encoder: bool) -> None:
    """Check the registration, train, compare, and write the numbers."""
    registration = read_registration(REGISTRATION)
    check_work(work, registration.sha256)
    runs = trainings(registration, work)
    looks = Artifact(work).record_look(
        f"cost_model {registration.content['inputs']['test']}",
        {"registration": registration.sha256},
    )
    say(looks["summary"])
    stack = stack_trainer(runs[0], work)
    arms: dict[str, FitBase] = {
        "control": fit_on_pairs,
        "words_singles": fit_baseline,
        "stack": stack,
    }
    pairs, costs = held_out(runs, arms)
    content: dict[str, Any] = {
        "command": f"python benchmarks/cost_registered.py WORK {result.name}",
        "registration": {
            "file": f"registered/{REGISTRATION.name}",
            "sha256": registration.sha256,
            "commit": registration.commit,
            "committed": registration.committed,
        },
        "looks": looks,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "test": {
            "pairs": len(pairs),
            "rows": sum(pair.rows for pair in pairs),
            "prompts": len({pair.group for pair in pairs}),
        },
        "held_out": compare(pairs, costs),
        "cross_fit": out_of_fold(runs[0], stack),
        "encoder": None,
        "encoder_reason": "not trained: --encoder does",
    }
    content["verdicts"] = verdicts(content)
    content["cpu_seconds_of_this_start"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_utime
    )
    write_json(result, content)
    if with_encoder:
        options = CostTrainOptions(**registration.content["beside"]["encoder"])
        networks = [replace(training, options=options) for training in runs]
        _, trained = held_out(networks, {"encoder": fit_networks})
        both = compare(pairs, {"control": costs["control"], **trained})
        command = f"{content['command']} --encoder"
        content |= {"command": command, "encoder": both, "encoder_reason": ""}
        write_json(result, content)
    print(json.dumps(content["verdicts"], indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--encoder", action="store_true")
    given = parser.parse_args()
    main(given.work, given.result, with_encoder=given.encoder)
