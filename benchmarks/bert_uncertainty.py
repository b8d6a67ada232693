"""Deep ensemble, Monte Carlo dropout and a single network on the same prompts.

``python benchmarks/bert_uncertainty.py WORK --data-root DATA`` trains five MiniLM
members in the folder WORK, asks the ensemble, its first member, and that member with
dropout about test sets, and writes ``benchmarks/results/bert_uncertainty.json``: how
well each one's uncertainty finds its errors, how good its probabilities are, what it
costs. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from safebench import Plugins
from safebench.calibration.methods import log_odds
from safebench.datasets import load_dataset, resolve_dataset
from safebench.metrics import GroupedSamples
from safebench.metrics.arrays import paired_difference
from safebench.training import Artifact

RESULT = Path(__file__).parent / "results" / "bert_uncertainty.json"
MEMBERS = 5
TRAIN = ["train", "bert_ensemble", "--base", "minilm", "--members", str(MEMBERS),
         "--epochs", "2", "--lr", "1e-4", "--warmup", "0.1", "--max-length", "64",
         "--dataset", "wildguardmix:train", "--test-dataset", "wildguardmix:test",
         "--sample", "1000", "--seed", "0"]  # fmt: skip
SETS = ("wildguardmix:test", "openai_moderation", "xstest")
LIMIT = "100"
PASSES = (5, 10)
# name -> the model within WORK/ensemble, options, forward passes of a text
METHODS = {
    "ensemble": ("", "", MEMBERS),
    "single": ("/member-01", "", 1),
    **{f"mc_dropout_{k}": ("/member-01", f",mc_dropout={k}", k) for k in PASSES},
}
UNCERTAINTIES = ("predictive_entropy", "mutual_information", "member_std")
PACKAGES = ("safebench", "safebench-bert-ensemble", "torch", "transformers", "numpy")
DRAWS = 2000
EVEN = 0.5


def main() -> None:
    """Train, run, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data-root", default=os.environ.get("SAFEBENCH_DATA"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parsed = parser.parse_args()
    data = ["--data-root", parsed.data_root] if parsed.data_root else []
    train(parsed.work / "ensemble", data)
    for name in METHODS:
        safebench([*run_command(parsed.work, name), *data])
    columns = read_columns(parsed.work, parsed.data_root)
    manifest = Artifact(parsed.work / "ensemble").manifest()
    result = {
        "what": "five MiniLM encoders, one of them, and that one read several times "
        "with dropout: error detection, probabilities, cost; test prompts are unseen",
        "commands": [" ".join(["safebench", *c]) for c in commands(Path("WORK"))],
        "versions": {name: version(name) for name in PACKAGES},
        "machine": {"cpu": platform.machine(), "python": platform.python_version()},
        "rows": {k: v["rows"] for k, v in manifest["dataset"]["parts"].items()},
        "calibration": manifest["calibration"],
        "cost": costs(parsed.work, manifest),
        "metrics": metric_rows(columns),
        "differences": differences(columns),
        "notes": [
            "intervals: 95 %, bootstrap of groups of related prompts",
            "error_auroc: errors at one half, ranked by the uncertainty",
            "each method has its own errors: their error_auroc are not paired",
            "seconds are of a machine with other work: compare forward passes first",
            "brier: before any calibration, which passes with dropout have none of",
            "brier_calibrated: by the temperature of the training",
            "one training of 700 rows on one seed: what it shows is of this size",
        ],
    }
    parsed.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["differences"]:
        print(row)


def commands(work: Path) -> list[list[str]]:
    """Return all commands, without where the data lies."""
    return [
        [*TRAIN, "--out", str(work / "ensemble")],
        *(run_command(work, name) for name in METHODS),
    ]


def run_command(work: Path, name: str) -> list[str]:
    """Return the arguments of the run of one method on all sets."""
    member, options, _ = METHODS[name]
    model = f"-cbert_ensemble,model={work / 'ensemble'}{member},truncation=right"
    return [
        "run",
        model + options,
        *("-smean_probs", *(f"-s{uncertainty}" for uncertainty in UNCERTAINTIES)),
        *(f"-d{dataset}" for dataset in SETS),
        *["--limit", LIMIT, "--calibration-fraction", "0"],
        *["--out", str(work / f"run-{name}")],
    ]


def safebench(arguments: list[str]) -> None:
    """Run a command of safebench."""
    subprocess.run([sys.executable, "-m", "safebench", *arguments], check=True)  # noqa: S603


def train(out: Path, data: list[str]) -> None:
    """Train or resume the ensemble, unless it is finished."""
    resume: list[str] = []
    if Artifact(out).path.is_file():
        if Artifact(out).manifest()["status"] == "done":
            return
        resume = ["--resume"]
    safebench([*TRAIN, "--out", str(out), *data, *resume])


def costs(work: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return forward passes and seconds of a text, and networks trained and stored."""
    seconds = {name: _seconds_per_text(work / f"run-{name}") for name in METHODS}
    trained = [member["seconds"] for member in manifest["members"]]
    return [
        {
            "method": name,
            "forward_passes": passes,
            "seconds_per_text_to_single": round(seconds[name] / seconds["single"], 2),
            "networks": MEMBERS if name == "ensemble" else 1,
            "training_to_single": round(sum(trained) / trained[0], 2)
            if name == "ensemble"
            else 1.0,
        }
        for name, (_, _, passes) in METHODS.items()
    ]


def _seconds_per_text(run: Path) -> float:
    """Return the seconds that recording a text took, over all sets."""
    lines = (run / "results.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    rows = [row for row in map(json.loads, lines) if row["strategy"] == "mean_probs"]
    by_set = {row["dataset"]: (row["seconds"], row["n"]) for row in rows if row["n"]}
    seconds, texts = map(sum, zip(*by_set.values(), strict=True))
    return float(seconds / texts)


def read_columns(work: Path, data_root: str | None) -> dict[str, dict[str, Any]]:
    """Return labels, groups, scores and uncertainties by set, and their union."""
    plugins = Plugins()
    columns: dict[str, dict[str, Any]] = {}
    for name in SETS:
        dataset = load_dataset(resolve_dataset(name, plugins, data_root=data_root))
        group = {sample.id: sample.group for sample in dataset.samples}
        column: dict[str, Any] = {}
        for method in METHODS:
            for strategy in ("mean_probs", *UNCERTAINTIES):
                lines = predictions(work, method, dataset, strategy)
                ids = [line["id"] for line in lines]
                assert ids == column.setdefault("ids", ids), f"{method}: other samples"
                column["y"] = np.array([line["label"] for line in lines], dtype=bool)
                key = "score" if strategy == "mean_probs" else "uncertainty"
                values = np.array([line[key] for line in lines], dtype=float)
                column[f"{method}/{strategy}"] = values
            constants = stored_calibration(work, method)
            column[f"{method}/raw"] = uncalibrated(
                column[f"{method}/mean_probs"], constants
            )
        column["groups"] = np.array([f"{name}/{group[i]}" for i in column.pop("ids")])
        columns[name] = column
    columns["union"] = {
        key: np.concatenate([columns[name][key] for name in SETS])
        for key in columns[SETS[0]]
    }
    return columns


def predictions(
    work: Path, method: str, dataset: Any, strategy: str
) -> list[dict[str, Any]]:
    """Return the prediction lines of one method and strategy that have a label."""
    part = f"{dataset.name}.{dataset.split}"
    folder = work / f"run-{method}" / "predictions" / "bert_ensemble" / part
    text = (folder / f"{strategy}.jsonl").read_text(encoding="utf-8")
    lines = map(json.loads, text.split("\n")[:-1])
    return [line for line in lines if line["label"] is not None]


def stored_calibration(work: Path, method: str) -> dict[str, Any]:
    """Return the constants that a method's probabilities were calibrated with."""
    content = Artifact(work / "ensemble").manifest()["calibration"]
    if method == "ensemble":
        return dict(content["pools"]["mean_probs"])
    return dict(content["members"]["member-01"]) if method == "single" else {}


def uncalibrated(p: Any, constants: dict[str, Any]) -> Any:
    """Return probabilities before the line of their log-odds; without one, the same."""
    if "slope" not in constants:
        return p
    return expit((log_odds(p) - constants["offset"]) / constants["slope"])


def metric_rows(columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return error AUROC, Brier scores and accuracy of every method on every set."""
    rows: list[dict[str, Any]] = []
    for name, column in columns.items():
        y, groups = column["y"], column["groups"]
        for method in METHODS:
            raw, p = column[f"{method}/raw"], column[f"{method}/mean_probs"]
            wrong = (raw > EVEN) != y
            facts = {"dataset": name, "method": method, "n": len(y)}
            facts["n_errors"] = int(wrong.sum())
            labelled = GroupedSamples(y, groups, n_resamples=DRAWS)
            measured = {
                "auroc": labelled.intervals("auroc", score=raw)["auroc"],
                "accuracy": labelled.intervals(
                    "accuracy", score=raw, decision=raw > EVEN
                )["accuracy"],
                "brier": labelled.intervals("brier", score=raw)["brier"],
            }
            if not np.array_equal(raw, p):
                calibrated = labelled.intervals("brier", score=p)["brier"]
                measured["brier_calibrated"] = calibrated
            errors = GroupedSamples(wrong, groups, n_resamples=DRAWS)
            for uncertainty in UNCERTAINTIES:
                score = column[f"{method}/{uncertainty}"]
                if score.std():  # one network disagrees with nobody
                    measured[f"error_auroc ({uncertainty})"] = errors.intervals(
                        "auroc", score=score
                    )["auroc"]
            rows += [facts | as_row(m, value) for m, value in measured.items()]
    return rows


def as_row(metric: str, interval: Any) -> dict[str, Any]:
    """Return a metric with its interval, four digits after the point."""
    ends = (interval.value, interval.low, interval.high)
    value, low, high = (None if x is None else round(float(x), 4) for x in ends)
    method = interval.method
    return {"metric": metric, "value": value, "low": low, "high": high, "by": method}


def differences(columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Brier score and AUROC of the ensemble minus those of others, paired."""
    rows = []
    for name, column in columns.items():
        for method in list(METHODS)[1:]:
            for metric in ("brier", "auroc"):
                interval = paired_difference(
                    metric,
                    column["y"],
                    column[f"{method}/raw"],
                    column["ensemble/raw"],
                    groups=column["groups"],
                    n_resamples=DRAWS,
                )
                row = {"dataset": name, "difference": f"ensemble - {method}"}
                rows.append(row | as_row(metric, interval) | {"n": len(column["y"])})
    return rows


if __name__ == "__main__":
    main()
