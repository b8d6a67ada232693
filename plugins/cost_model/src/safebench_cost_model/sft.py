"""The supervised stage: a decoder first learns to write the safer responses.

Plain next-token loss on the response alone. It moves the base towards the texts that
it will judge; its head is thrown away.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.utils.data import Dataset
from transformers import set_seed

from safebench.errors import OptionError
from safebench.neural.loading import load_tokenizer, one_line, quiet
from safebench.training.process import is_main_process

from .arguments import arguments_for
from .bases import Base
from .batches import Collator
from .checkpoints import resumed_from
from .encode import Encoder
from .layout import TUNED, TUNED_CHECKPOINTS
from .network import choose_padding
from .pairs import read_pairs
from .template import QA
from .trainer import GroupedTrainer
from .watching import watched
from .whole import whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from safebench.training import Training

    from .encode import Encoded
    from .network import Family
    from .options import TrainOptions
    from .pairs import Pair

IGNORED = -100  # a label that no loss counts


class Texts(Dataset["Encoded"]):
    """Encoded exchanges to write."""

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.rows = rows

    @property
    def lengths(self) -> list[int]:
        """Tokens of each exchange."""
        return [len(row.ids) for row in self.rows]

    @property
    def groups(self) -> None:
        """No text belongs to another."""
        return None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Encoded:
        return self.rows[row]


@dataclass(frozen=True, slots=True)
class WritingCollator:
    """Pads exchanges, and hides everything but the response and EOS from the loss."""

    collator: Collator

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """Return a batch with labels."""
        batch = self.collator.padded(rows)
        labels = torch.where(batch["attention_mask"] > 0, batch["input_ids"], IGNORED)
        for i, row in enumerate(rows):
            labels[i, : row.answer] = IGNORED
        return batch | {"labels": labels}


def safer_texts(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Return prompt and safer response of every decided pair, once."""
    found: dict[tuple[str, str], None] = {}
    for pair in pairs:
        if pair.p_first != 1 / 2:
            found[pair.prompt, pair.responses[1]] = None
    return list(found)


def supervised(training: Training, base: Base, family: Family) -> Base:
    """Train a decoder on safer responses; return it as the base of what follows."""
    if family != "decoder":
        raise OptionError(
            f"--sft: {base.label} is an encoder and writes nothing; leave --sft out"
        )
    done = training.out / TUNED
    if not (training.resume and done.is_dir()):
        _train(training, base)
    return Base(done, f"{base.label} + sft")


def _train(training: Training, base: Base) -> None:
    options: TrainOptions = training.options
    set_seed(training.seed)
    tokenizer = load_tokenizer(base.folder, base.label)
    load: Any = transformers.AutoModelForCausalLM.from_pretrained
    with quiet(), one_line(base.label):
        network = load(base.folder, dtype=torch.float32, local_files_only=True)
    pad = choose_padding(network, tokenizer)
    encoder = Encoder(tokenizer, QA, options.max_length)
    pairs = read_pairs(training.train, options.conflicts, training.say)
    rows = Texts([encoder.encode(*text) for text in safer_texts(pairs)])
    training.say(f"supervised stage: {len(rows)} safer responses")
    if not options.full:
        network = _with_adapters(network, options)
    folder = training.out / TUNED_CHECKPOINTS
    last = resumed_from(folder, resume=training.resume, say=training.say)
    with watched("supervised stage", training.say) as watch, quiet():
        trainer = GroupedTrainer(
            model=network,
            args=_arguments(training, folder, len(rows)),
            data_collator=WritingCollator(Collator(pad, with_types=False)),
            train_dataset=rows,
            callbacks=[watch],
        )
        trainer.train(resume_from_checkpoint=last)
    with quiet():
        if not options.full:
            network = network.merge_and_unload()
        if is_main_process():
            with whole(training.out / TUNED) as part:
                network.save_pretrained(part)
                tokenizer.save_pretrained(part)
    trainer.accelerator.wait_for_everyone()
    if is_main_process():
        shutil.rmtree(folder, ignore_errors=True)


def _arguments(training: Training, folder: Path, rows: int) -> Any:
    options: TrainOptions = training.options
    without = {
        "num_train_epochs": options.sft_epochs,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "metric_for_best_model": None,
        "greater_is_better": None,
        "label_names": ["labels"],
    }
    return arguments_for(
        options,
        folder,
        pairs=rows,
        lr=options.lr or (2e-5 if options.full else 1e-4),
        seed=training.seed,
        given={**training.arguments, **without},
    )


def _with_adapters(network: Any, options: TrainOptions) -> Any:
    import peft

    config = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules="all-linear",
    )
    with quiet():
        return peft.get_peft_model(network, config)
