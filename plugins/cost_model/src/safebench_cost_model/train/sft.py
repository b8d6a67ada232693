"""The supervised stage: a decoder first learns to write the safer responses.

Plain next-token loss on the response alone. It moves the base towards the texts that
it will score; its output layer is thrown away.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.utils.data import Dataset
from transformers import set_seed

from safebench.torch_utils import ModelFolder, quiet_transformers
from safebench.training import is_main_process
from safebench_cost_model.model.artifact import (
    SFT_CHECKPOINT_FOLDER,
    SFT_FOLDER,
    atomic_folder,
)
from safebench_cost_model.model.encoding import ExchangeCollator, ExchangeEncoder
from safebench_cost_model.model.network import choose_padding
from safebench_cost_model.model.template import QA

from .hf_trainer import (
    GroupedTrainer,
    progress_callback,
    resume_checkpoint,
    training_arguments,
    training_overrides,
)
from .pairs import read_pairs
from .precision import base_dtype, quantization

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from safebench.training import Training
    from safebench_cost_model.model.encoding import EncodedExchange
    from safebench_cost_model.options import CostTrainOptions

    from .pairs import PreferencePair

IGNORE_INDEX = -100  # a label that no loss counts


class ExchangeDataset(Dataset["EncodedExchange"]):
    """Encoded exchanges, as `GroupedTrainer` takes them."""

    def __init__(self, rows: Sequence[EncodedExchange]) -> None:
        self.rows = rows

    @property
    def lengths(self) -> list[int]:
        """Tokens of each exchange."""
        return [len(row.ids) for row in self.rows]

    @property
    def groups(self) -> None:
        """None: every exchange is a group of its own."""
        return None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> EncodedExchange:
        return self.rows[row]


@dataclass(frozen=True, slots=True)
class ResponseCollator:
    """Pads exchanges, and hides everything but the response and EOS from the loss."""

    collator: ExchangeCollator

    def __call__(self, rows: Sequence[EncodedExchange]) -> dict[str, Tensor]:
        """Return a batch with labels."""
        batch = self.collator.pad_rows(rows)
        # By the mask: the id of padding may be that of EOS, which is to be learnt.
        labels = torch.where(
            batch["attention_mask"] > 0, batch["input_ids"], IGNORE_INDEX
        )
        for i, row in enumerate(rows):
            labels[i, : row.response_start] = IGNORE_INDEX
        return batch | {"labels": labels}


def safer_responses(pairs: Sequence[PreferencePair]) -> list[tuple[str, str]]:
    """Return prompt and safer response of every decided pair, once."""
    decided = (pair for pair in pairs if pair.p_first != 1 / 2)
    # A dict, and not a set, keeps the order.
    return list(dict.fromkeys((pair.prompt, pair.responses[1]) for pair in decided))


def run_sft(training: Training, base: ModelFolder) -> ModelFolder:
    """Train a decoder on safer responses; return it as the base of what follows."""
    folder = training.out / SFT_FOLDER
    if not (training.resume and folder.is_dir()):
        _train_sft(training, base)
    return ModelFolder(folder, f"{base.label} + sft")


def _train_sft(training: Training, base: ModelFolder) -> None:
    options: CostTrainOptions = training.options
    set_seed(training.seed)
    tokenizer = base.tokenizer()
    dtype = base_dtype(options, adapters=not options.full)
    network = base.network("causal_lm", dtype=dtype, **quantization(options))
    pad_token_id = choose_padding(network, tokenizer)
    encoder = ExchangeEncoder(tokenizer, QA, options.max_length)
    pairs = read_pairs(training.train, options.conflicts, training.say)
    rows = ExchangeDataset([encoder.encode(*text) for text in safer_responses(pairs)])
    training.say(f"supervised stage: {len(rows)} safer responses")
    if not options.full:
        network = _with_adapters(network, options)
    folder = training.out / SFT_CHECKPOINT_FOLDER
    checkpoint = resume_checkpoint(folder, resume=training.resume, say=training.say)
    with (
        progress_callback("supervised stage", training.say) as progress,
        quiet_transformers(),
        training_overrides(training.arguments).errors(),
    ):
        trainer = GroupedTrainer(
            model=network,
            args=_sft_arguments(training, folder, len(rows)),
            data_collator=ResponseCollator(
                ExchangeCollator(pad_token_id, with_token_types=False)
            ),
            train_dataset=rows,
            callbacks=[progress],
        )
        trainer.train(resume_from_checkpoint=checkpoint)
    trainer.require_finite(network, "lower --lr")
    with quiet_transformers():
        if not options.full:
            # What follows takes an ordinary checkpoint, and adds adapters of its own.
            network = _merged(network, base, options, dtype)
        if is_main_process():
            with atomic_folder(training.out / SFT_FOLDER) as part:
                network.save_pretrained(part)
                tokenizer.save_pretrained(part)
    trainer.accelerator.wait_for_everyone()
    if is_main_process():
        shutil.rmtree(folder, ignore_errors=True)


def _sft_arguments(
    training: Training, folder: Path, rows: int
) -> transformers.TrainingArguments:
    options: CostTrainOptions = training.options
    return training_arguments(
        options,
        folder,
        rows=rows,
        lr=options.lr or (2e-5 if options.full else 1e-4),
        seed=training.seed,
        overrides=training.arguments,
        stage=sft_stage(options),
    )


def sft_stage(options: CostTrainOptions) -> dict[str, Any]:
    """Return the library's arguments that are those of this stage, whatever is set."""
    # The last state is kept: a lower loss on texts makes no better cost model.
    return {
        "num_train_epochs": options.sft_epochs,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "metric_for_best_model": None,
        "greater_is_better": None,
        "label_names": ["labels"],
    }


def _merged(
    network: Any, base: ModelFolder, options: CostTrainOptions, dtype: torch.dtype
) -> Any:
    """Return the base with its adapters added to its weights."""
    import peft

    if options.quantize != "none":
        # Into the whole weights: those in 4 bits would round most of it away.
        learnt = peft.get_peft_model_state_dict(network)
        network = _with_adapters(base.network("causal_lm", dtype=dtype), options)
        peft.set_peft_model_state_dict(network, learnt)
    return network.merge_and_unload()


def _with_adapters(network: Any, options: CostTrainOptions) -> Any:
    import peft

    config = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules="all-linear",
    )
    with quiet_transformers():
        return peft.get_peft_model(network, config)
