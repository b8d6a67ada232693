"""How long a member takes, beside a plain `Trainer` that pads to the maximum length.

``python benchmarks/bert_ensemble_speed.py plain --data-root DATA`` trains one MiniLM
for an epoch on 600 WildGuardMix prompts, both ways at 256 and 512 tokens, and writes
``benchmarks/results/bert_ensemble-speed.json``. ``... members`` needs no download and
no data: it trains six DistilBERT-shaped members with random weights on 7,000 made-up
prompts, as the published recipe does, and prints seconds a member; meant for a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from safebench import Plugins
from safebench.datasets import load_dataset, resolve_dataset
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.torch_utils import (
    Placement,
    quiet_transformers,
)
from safebench.training import Training
from safebench_bert_ensemble.model.checkpoints import new_classifier
from safebench_bert_ensemble.model.encoding import collate
from safebench_bert_ensemble.model.evidence import CLASSES
from safebench_bert_ensemble.model.location import find_base
from safebench_bert_ensemble.options import EnsembleTrainOptions
from safebench_bert_ensemble.train.hardware import pick_precision
from safebench_bert_ensemble.train.member_trainer import (
    MemberTrainer,
    padding_shares,
    tokenize_rows,
)
from safebench_bert_ensemble.train.trainer import fit
from safebench_bert_ensemble.train.training_job import LabelledTexts, TrainingJob

RESULT = Path(__file__).parent / "results" / "bert_ensemble-speed.json"
PACKAGES = ("torch", "transformers", "accelerate", "safebench-bert-ensemble")
BATCH = 16


def main() -> None:
    """Measure what the first argument names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["plain", "members"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument(
        "--plain-steps",
        type=int,
        default=0,
        help="time so many steps of the plain training, which are all of one shape",
    )
    parser.add_argument("--data-root", default=os.environ.get("SAFEBENCH_DATA"))
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.what == "members":
        time_members(given.members, given.rows or 7000)
        return
    found = [
        beside_plain(given.data_root, given.rows or 600, length, given.plain_steps)
        for length in given.lengths
    ]
    result = {
        "command": " ".join(["python", "benchmarks/bert_ensemble_speed.py", *shown()]),
        "what": "one epoch of one MiniLM: rows of like length together, against "
        "random batches padded to the maximum length; the same rows and steps",
        "versions": {name: version(name) for name in PACKAGES},
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
        "results": found,
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def shown() -> list[str]:
    """Return the command's arguments, without where data lies."""
    kept = iter(sys.argv[1:])
    return [a for a in kept if not (a in ("--data-root", "--out") and next(kept))]


def beside_plain(
    data_root: str | None, rows: int, length: int, steps: int
) -> dict[str, Any]:
    """Return CPU seconds of an epoch both ways, and their ratio.

    With `steps`, the plain epoch is reckoned from that many of its steps.
    """
    source = resolve_dataset("wildguardmix:train", Plugins(), data_root=data_root)
    part = LabelledTexts.from_dataset(load_dataset(source, limit=rows))
    options = EnsembleTrainOptions(base="minilm", max_length=length, batch_size=BATCH)
    base = find_base("minilm")
    job = TrainingJob(options=options, bases=(base,), out=Path(), train=part, val=part)
    tokens = tokenize_rows(job, base)
    pad = tokens.tokenizer.pad_token_id
    grouped = partial(
        MemberTrainer, data_collator=partial(collate, pad_token_id=pad), eval_tokens=1
    )
    longest = transformers.DataCollatorWithPadding(
        tokens.tokenizer, padding="max_length", max_length=length
    )
    plain = partial(transformers.Trainer, data_collator=longest)
    seconds = {
        "grouped": epoch(grouped, tokens.train),
        "plain": epoch(plain, tokens.train, steps),
    }
    lengths = [len(row["input_ids"]) for row in tokens.train]
    found = {
        "max_length": length,
        "rows": len(lengths),
        "tokens": sum(lengths),
        "mean_tokens": round(float(np.mean(lengths)), 1),
        "padding_share": round(padding_shares(job, tokens)["train"], 4),
        "plain_steps_timed": steps or "all",
        "cpu_seconds": {k: round(v, 1) for k, v in seconds.items()},
        "times_faster": round(seconds["plain"] / seconds["grouped"], 2),
    }
    print(found, flush=True)
    return found


def epoch(trainer: Any, rows: list[dict[str, Any]], steps: int = 0) -> float:
    """Return the CPU seconds of one epoch, or of as many steps as it has."""
    whole = math.ceil(len(rows) / BATCH)
    transformers.set_seed(0)
    base = find_base("minilm")
    network = new_classifier(base.folder, base.label, CLASSES)
    placement = Placement.choose("cpu")
    placement.limit_threads(network)
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            max_steps=steps or -1,
            per_device_train_batch_size=BATCH,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            bf16=pick_precision("auto", placement.device) == "bf16",
        )
        made = trainer(model=network, args=arguments, train_dataset=rows)
        started = time.process_time()
        made.train()
        return (time.process_time() - started) * (whole / steps if steps else 1)


def time_members(members: int, rows: int) -> None:
    """Print seconds a member for random weights of DistilBERT's shape."""
    found = train_members(members, rows)
    for i, member in enumerate(found["members"], start=1):
        print(f"member {i}: {member['seconds']} s, {member['precision']}")
    print(f"{members} members, {rows} rows, 3 epochs: {found['seconds']} s in all")


def train_members(members: int, rows: int, **shape: int) -> dict[str, Any]:
    """Train members with random weights; `shape` changes DistilBERT's.

    Returns seconds in all, and seconds and precision of each member.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "distilbert-shaped"
        random_base(base, **shape)
        training = Training(
            name="bert_ensemble",
            options=EnsembleTrainOptions(base=str(base), members=members),
            out=Path(folder) / "out",
            train=made_up(rows, 0),
            val=made_up(rows * 15 // 70, 1),
            test=made_up(rows * 15 // 70, 2),
        )
        started = time.monotonic()
        trained = fit(training)
        total = time.monotonic() - started
    keys = ("seconds", "precision")
    return {
        "rows": rows,
        "epochs": training.options.epochs,
        "seconds": round(total, 1),
        "members": [{key: m[key] for key in keys} for m in trained.manifest["members"]],
    }


def random_base(folder: Path, **shape: int) -> None:
    """Save an encoder of DistilBERT's shape and a tokenizer of numbered words.

    `shape` are values of its configuration that differ from DistilBERT's.
    """
    tokenizer = word_tokenizer(30_000)
    tokenizer.save_pretrained(folder)
    values: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": 0, **shape}
    config = transformers.DistilBertConfig(**values)
    transformers.DistilBertModel(config).save_pretrained(folder)


def word_tokenizer(count: int) -> Any:
    """Return a tokenizer of so many numbered words, which frames texts as BERT does."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(count))]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        model_max_length=512,
    )


def made_up(rows: int, seed: int) -> Dataset:
    """Return prompts of numbered words whose lengths spread as real ones do."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(4.2, 0.9, rows), 4, 400).astype(int)
    samples, golds = [], []
    for i, length in enumerate(lengths):
        harmful = bool(rng.random() < 0.5)  # noqa: PLR2004 - a coin
        numbers = rng.integers(0, 15_000, length) * 2 + harmful
        text = " ".join(f"w{n}" for n in numbers)
        samples.append(Sample(id=f"{seed}/{i}", turns=(Turn("user", text),)))
        golds.append(GroundTruth(label=Label(value=harmful)))
    return Dataset(
        name="numbered words",
        config=None,
        split=str(seed),
        task="prompt_harm",
        policy=None,
        revision="made up",
        samples=samples,
        ground_truth=golds,
    )


if __name__ == "__main__":
    main()
