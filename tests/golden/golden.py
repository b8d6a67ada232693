"""The golden run: its models and data, and how it was written.

The commands `FIRST` (some of the rows, some strategies) and then `EXTENDED` (all rows,
more strategies) are run once for each format of run folders, by the code that the tests
hold later code to; they leave ``format<N>/first.tar.xz`` and ``extended.tar.xz``. A
change that has to alter stored bytes raises the format, writes another pair with

    python tests/golden/golden.py

and leaves the earlier ones as they are: those folders are still read and resumed. Until
a format is released its pair may be written again. What a new version of the recorded
trees changes within a format is a pair of its own, ``format<N>-trees<M>``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from safebench.results.rows import SCHEMA
from safebench.verdict_tree import ENGINE_VERSION

HERE = Path(__file__).parent
GUARD = "guard=llamaguard,model=models/guard,batch_tokens=4096"
FULL = f"{GUARD},record=full"  # as the guard recorded before today's version of trees
GUARDS = (
    "keyword",
    GUARD,
    "ensemble=bert_ensemble,model=models/ensemble",
)
FIRST_STRATEGIES = ("score", "greedy", "marginal_any", "marginal_fixed", "mean_probs")
MORE_STRATEGIES = ("joint", "entropy_uncertainty", "logtoku", "mutual_information")
# by how much the guard prefers a token, in the units of its head's weights
BONUS = {
    "safe": 2.0,
    "unsafe": 2.25,
    "\u010a": 2.0,
    "S": 1.0,
    "1": 1.0,
    "2": 0.75,
    ",": 0.5,
}


def build_models(folder: Path) -> None:
    """Copy the small files and write weights that are exact on every machine.

    They are eighths of small integers: no random generator of a library, whose
    numbers may differ between processors, has a say in the weights' hash.
    """
    shutil.copytree(HERE / "models", folder, dirs_exist_ok=True)
    shapes = json.loads((HERE / "models" / "shapes.json").read_text())
    (folder / "shapes.json").unlink()
    for number, (name, tensors) in enumerate(sorted(shapes.items())):
        draw = np.random.RandomState(number)
        weights = {
            key: (draw.randint(-4, 5, size=shape) / 8).astype(np.float32)
            for key, shape in sorted(tensors.items())
        }
        if name == "guard":
            speak(weights, folder / name)
        save_file(weights, folder / name / "model.safetensors", {"format": "pt"})


def speak(weights: dict[str, np.ndarray], folder: Path) -> None:
    """Make a random decoder prefer words of a verdict, so that few samples fail.

    One dimension of the residual stream is constant, since no layer writes to it; the
    head reads a bonus of each token from there.
    """
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    weights["model.embed_tokens.weight"][:, 0] = 2
    weights["model.norm.weight"][:] = 1
    for name, tensor in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[0] = 0
    head = weights["lm_head.weight"]
    head[:, 0] = 0
    for token, bonus in BONUS.items():
        head[vocabulary[token], 0] = bonus


def words(option: str, values: tuple[str, ...]) -> list[str]:
    """Return an option, given once for each value."""
    return [word for value in values for word in (option, value)]


PROMPTS = [
    *("run", "-d", "prompts.jsonl", "--on-bad-row", "skip", "--out", "runs/prompts"),
    *words("-c", GUARDS),
    *words("-s", FIRST_STRATEGIES),
]
ANSWERS = [
    *("run", "-d", "answers.jsonl", "--out", "runs/answers"),
    *("-c", "cost=cost_model,model=models/cost,template=pair", "-s", "cost_sign"),
]
FIRST = ([*PROMPTS, "--limit", "14"], [*ANSWERS, "--limit", "8"])
EXTENDED = (
    [*PROMPTS, *words("-s", MORE_STRATEGIES)],
    [*ANSWERS, "-s", "cost_sigmoid"],
)


def build_pair(target: Path) -> None:
    """Run both commands one after the other, and keep what each leaves."""
    target.mkdir(parents=True, exist_ok=True)
    safebench = [sys.executable, "-m", "safebench"]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        build_models(place / "models")
        for data in ("prompts.jsonl", "answers.jsonl"):
            shutil.copy(HERE / data, place)
        for pair, commands in (("first", FIRST), ("extended", EXTENDED)):
            for words_ in commands:
                env = {**os.environ, "COLUMNS": "100"}
                # more samples fail than --max-failures allows: exit code 1
                subprocess.run([*safebench, *words_], cwd=place, env=env, check=False)
            with tarfile.open(target / f"{pair}.tar.xz", "w:xz") as archive:
                archive.add(place / "runs", "runs")


if __name__ == "__main__":
    build_pair(HERE / f"format{SCHEMA}-trees{ENGINE_VERSION}")
