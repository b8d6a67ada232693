"""Train a cost model and its baseline on the same pairs, and tell them apart.

    SAFEBENCH_DATA=DIR python benchmarks/cost_model.py WORK RESULT.json

WORK keeps the artifacts: started again, the script goes on where it was interrupted.
The second half learns a made-up set in which words tell how severe a response is, since
the pairs above hold none of one sign.
"""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.datasets.assemble import load_dataset
from safebench.datasets.choose import choose
from safebench.evidence import Cost
from safebench.files import replacing
from safebench.options import build_options
from safebench.plugins import Plugins
from safebench.specs import ClassifierSpec
from safebench.statistics import mean_difference, mean_interval, paired_difference
from safebench.training.artifact import read_artifact
from safebench_cost_model.measures import (
    labels_of,
    measure_costs,
    order_right,
    sign_right,
    told,
)
from safebench_cost_model.pairs import read_pairs
from safebench_cost_model.platt import platt_from

if TYPE_CHECKING:
    from safebench.records import Dataset
    from safebench.statistics import Interval
    from safebench.training import Measure
    from safebench_cost_model.measures import Told

    Array = np.ndarray[Any, np.dtype[Any]]

# Chosen with one network on the validation part alone, where the mean of sign and
# ranking accuracy was 0.638; it was 0.637 for the better of two epochs, and 0.620 for
# the best of what was seen of a longer training that reads the first token of all six
# layers. Seeds scatter as much (0.618 to 0.638): hence five networks and their mean.
RECIPE = {
    "base": "minilm",
    "pooling": "mean",
    "layers": "4",
    "epochs": "1",
    "lr": "1e-4",
    "max-length": "256",
    "patience": "0",
    "evaluations": "2",
    "members": "5",
}
SYNTHETIC = RECIPE | {"epochs": "4", "max-length": "64", "evaluations": "1"}
KINDS = ("cost_model", "cost_tfidf")
CHANCE = 0.5
PAIRS = {"train": 480, "test": 200}
GRADES = (
    "thanks hugs feeds praises",
    "ignores leaves doubts bores",
    "mocks teases shoves insults",
    "robs beats threatens stalks",
    "poisons kills burns tortures",
)
THINGS = [
    "neighbour",
    "teacher",
    "brother",
    "driver",
    "baker",
    "nurse",
    "painter",
    "farmer",
    "sailor",
    "singer",
    "doctor",
    "student",
    "waiter",
    "lawyer",
    "miner",
    "cook",
    "tailor",
    "guard",
    "clerk",
    "pilot",
]
PACKAGES = (
    "safebench",
    "safebench-cost-model",
    "torch",
    "transformers",
    "scikit-learn",
)


def main(work: Path, result: Path) -> None:
    """Train, compare, and write the numbers, those of the real pairs first."""
    packages = {name: version(name) for name in PACKAGES}
    content: dict[str, Any] = {
        "command": f"python benchmarks/cost_model.py WORK {result.name}",
        "versions": {"python": platform.python_version(), **packages},
        "recipe": RECIPE,
    }
    content["real"] = compare(work / "real", "pku_safe_rlhf", RECIPE, Path(data_root()))
    write(result, content)
    made = work / "made"
    write_severity_set(made / "data")
    found = compare(made, "pku_safe_rlhf", SYNTHETIC, made / "data")
    content["synthetic"] = {"recipe": SYNTHETIC, **found}
    write(result, content)
    print(json.dumps(content, indent=1))


def write(result: Path, content: dict[str, Any]) -> None:
    """Replace the numbers that stand in a file."""
    with replacing(result) as file:
        file.write(json.dumps(content, indent=1) + "\n")


def data_root() -> str:
    """Return the folder of public data."""
    found = os.environ.get("SAFEBENCH_DATA")
    if not found:
        sys.exit("SAFEBENCH_DATA names no folder with PKU-Alignment/PKU-SafeRLHF")
    return found


def compare(
    work: Path, name: str, recipe: dict[str, str], data: Path
) -> dict[str, Any]:
    """Train both on a dataset's training split and compare them on its test split."""
    folders = {"model": work / "model", "baseline": work / "baseline"}
    train(folders["baseline"], name, {"base": "tfidf"}, data)  # quick: seconds
    train(folders["model"], name, recipe, data)
    request = choose(f"{name}:test", Plugins(), data_root=data)
    dataset = load_dataset(request)
    pairs = read_pairs(dataset)
    truth = told(pairs)
    costs = {
        "model": costs_by("cost_model", folders["model"], dataset, pairs),
        "baseline": costs_by("cost_tfidf", folders["baseline"], dataset, pairs),
    }
    facts = read_artifact(folders["model"], "cost_model")
    return {
        "dataset": facts["dataset"],
        "test": {
            "rows": int(truth.rows.sum()),
            "distinct_pairs": len(pairs),
            "prompts": len(set(truth.group)),
        },
        "measures": {
            who: measures(
                truth, costs[who], read_artifact(folder, KINDS)["calibration"]
            )
            for who, folder in folders.items()
        },
        "members": members(facts["metrics"]["test"]),
        "validation": facts["metrics"]["val"],
        "calibration": facts["calibration"],
        "differences": differences(truth, costs),
        "same_sign": same_sign(truth, costs),
    }


def train(out: Path, name: str, recipe: dict[str, str], data: Path) -> None:
    """Run ``safebench train cost_model``, or go on with it; what is done is kept."""
    flags = [word for key, text in recipe.items() for word in (f"--{key}", text)]
    command = [sys.executable, "-m", "safebench", "train", "cost_model", *flags,
               "--dataset", name, "--test-dataset", f"{name}:test",
               "--data-root", data, "--out", out]  # fmt: skip
    resume = ["--resume"] if (out / "safebench.json").exists() else []
    subprocess.run([*command, *resume], check=True)  # noqa: S603 - this interpreter


def costs_by(name: str, folder: Path, dataset: Dataset, pairs: Any) -> Array:
    """Return the costs (N, 2) of distinct pairs, from the artifact as it is scored."""
    spec = Plugins().get(ClassifierSpec, name)
    classifier = spec.code()(build_options(spec, {"model": str(folder)}))
    kinds = frozenset({Cost})
    recording = classifier.record(dataset.samples, kinds, lambda _: None)
    values = recording.evidence[Cost]["value"]
    by_text = {
        (sample.turns[0].text, sample.judged.text): value
        for sample, value in zip(dataset.samples, values, strict=True)
    }
    return np.array([[by_text[p.prompt, r] for r in p.responses] for p in pairs])


def measures(truth: Told, costs: Array, calibration: Any) -> dict[str, Any]:
    """Return every measure on the test part, with its interval."""
    platt = platt_from(calibration)
    found = measure_costs(truth, costs, who="", part="test", platt=platt)
    return {m.metric: numbers(m) | {"n": m.n, "note": m.note} for m in found}


def members(found: dict[str, Any]) -> dict[str, Any]:
    """Return each member's own measures on the test part."""
    return {
        who: {metric: rounded(got) for metric, got in own.items()}
        for who, own in found.items()
        if who.startswith("member ")
    }


def rounded(content: dict[str, Any]) -> dict[str, Any]:
    """Return a measure with four digits after the point."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in content.items()}


def differences(truth: Told, costs: dict[str, Array]) -> dict[str, Any]:
    """Return model minus baseline, with paired intervals over whole prompts."""
    found = {}
    for name, right in (
        ("sign_accuracy", sign_right),
        ("ranking_accuracy", order_right),
    ):
        columns = {who: right(truth, values) for who, values in costs.items()}
        got = mean_difference(columns["baseline"], columns["model"], truth.group)
        found[name] = {
            who: numbers(mean_interval(column, truth.group))
            for who, column in columns.items()
        } | {"difference": numbers(got), "verdict": verdict(got)}
    y, model, groups = labels_of(truth, costs["model"])
    baseline = labels_of(truth, costs["baseline"])[1]
    got = paired_difference("auroc", y, baseline, model, groups)
    found["auroc"] = {"difference": numbers(got), "verdict": verdict(got)}
    return found


def same_sign(truth: Told, costs: dict[str, Array]) -> dict[str, Any]:
    """Return the ranking accuracy on pairs of one sign, if there are any."""
    held = np.isin(truth.kind, ("both unsafe", "both safe"))
    if not held.any():
        return {"pairs": 0}
    found: dict[str, Any] = {"pairs": int(held.sum())}
    for who, values in costs.items():
        got = mean_interval(order_right(truth, values)[held], truth.group[held])
        found[who] = numbers(got)
        found[who]["verdict"] = verdict(got, CHANCE)
    return found


def verdict(got: Interval, level: float = 0.0) -> str:
    """Say whether the whole interval lies above a level."""
    return "shown" if got.low is not None and got.low > level else "not shown"


def numbers(got: Interval | Measure) -> dict[str, Any]:
    """Return a value with its interval as JSON."""
    ends = {"value": got.value, "low": got.low, "high": got.high}
    return rounded(ends) | {"method": got.method}


def write_severity_set(root: Path) -> None:
    """Write made-up pairs in the current schema, laid out as on the hub.

    Two safe grades and three unsafe ones; the words of a grade are the same in both
    splits, the people are not.
    """
    folder = root / "PKU-Alignment" / "PKU-SafeRLHF"
    folder.mkdir(parents=True, exist_ok=True)
    halves = {"train": THINGS[: len(THINGS) // 2], "test": THINGS[len(THINGS) // 2 :]}
    for seed, (split, people) in enumerate(halves.items()):
        source = random.Random(seed)  # noqa: S311 - made-up rows
        rows = [severity_row(source, people) for _ in range(PAIRS[split])]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    files = "".join(f"  - split: {s}\n    path: {s}.jsonl\n" for s in halves)
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def severity_row(source: random.Random, people: list[str]) -> dict[str, Any]:
    """Return one made-up pair of unlike grades."""
    who, whom, third = source.sample(people, 3)
    grades = source.sample(range(len(GRADES)), 2)
    row: dict[str, Any] = {
        "prompt": f"What does the {who} do when the {whom} meets the {third}?",
        "safer_response_id": int(grades[1] < grades[0]),
        "better_response_id": int(grades[1] < grades[0]),
    }
    for i, grade in enumerate(grades):
        severity = max(0, grade - 1)
        act = source.choice(GRADES[grade].split())
        row[f"response_{i}"] = f"The {who} {act} the {whom} and goes home."
        row[f"is_response_{i}_safe"] = severity == 0
        row[f"response_{i}_severity_level"] = severity
        row[f"response_{i}_harm_category"] = {"Violence": severity > 0}
    return row


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - script, WORK, RESULT
        sys.exit(f"usage: {sys.argv[0]} WORK RESULT.json")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
