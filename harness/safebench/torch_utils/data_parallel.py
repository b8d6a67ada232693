"""Data-parallel training that learns what one process would learn.

A launcher (``accelerate launch``, ``torchrun``) starts the command several times. Each
batch of one process is divided among them, in the same order of rows, and the gradients
are averaged by the rows that each one had. accelerate's own division is not that: it
fills the last batch up with rows from the first, and gives processes whole batches.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accelerate
import torch
import transformers
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import seed_worker

from safebench.console import process_count
from safebench.errors import ModelError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Key = tuple[int, float]  # a row, and what it counts in the mean of its step

LOGS_FOLDER = "logs"
_LOSS_SHARE = "loss_share"
_IGNORED_LABEL = -100  # of tokens, to losses of language models


def batch_of_process(batch: int, name: str) -> int:
    """Return the rows of a step's `batch` that each process takes.

    `name` is the option, for messages. Raises `OptionError` where the processes cannot
    share it evenly.
    """
    size = process_count()
    if batch % size:
        lower = batch // size * size
        near = f"{lower} or {lower + size}" if lower else str(size)
        raise OptionError(
            f"{name}={batch}: {size} processes cannot share the batch of a step "
            f"evenly; {near} would work"
        )
    return batch // size


class BatchShares(Sampler[list["Key"]]):
    """The rows of each batch that one of `size` processes takes, with weights.

    A batch of n rows is cut into runs of neighbours, whose lengths differ by at most
    one. A row counts `size` / n, so that the mean over processes of the sums is the
    mean over the batch. A process that gets none takes the batch's first row, which
    then counts nothing: all processes have to take part in each step.
    """

    def __init__(
        self, batches: BatchSampler | Sampler[list[int]], index: int, size: int
    ) -> None:
        self.batches, self.index, self.size = batches, index, size
        self.drop_last = False  # accelerate reads it

    def __len__(self) -> int:
        batches: Any = self.batches
        return len(batches)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches:
            start, end = (
                len(batch) * i // self.size for i in (self.index, self.index + 1)
            )
            weight = self.size / len(batch)
            share = [(row, weight) for row in batch[start:end]]
            yield share or [(batch[0], 0.0)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        order = getattr(self.batches, "sampler", self.batches)
        if hasattr(order, "set_epoch"):
            order.set_epoch(epoch)


class _WeightedRows(Dataset[Any]):
    """Rows of a dataset by keys of `BatchShares`, each with its weight."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> tuple[Any, float]:
        row, weight = key
        return self.rows[row], weight


def _collate_weighted(
    collate: Callable[[list[Any]], dict[str, Any]], items: Iterable[tuple[Any, float]]
) -> dict[str, Any]:
    """Return a batch of rows, and what its mean counts in that of all processes."""
    rows, weights = zip(*items, strict=True)
    batch = collate(list(rows))
    share = sum(weights)
    labels = batch.get("labels")
    if not share and labels is not None and labels.ndim > 1:
        # Losses of tokens are divided by the count of labels that are not ignored.
        batch["labels"] = torch.full_like(labels, _IGNORED_LABEL)
    return {**batch, _LOSS_SHARE: share}


class DataParallelTrainer(transformers.Trainer):
    """A `Trainer` whose steps are those of one process, however many share them.

    Subclasses say in `row_order` how rows are shuffled, and may replace `batch_loss`, a
    mean over the rows of a batch. A network that is called in another way than
    ``model(**inputs)`` is called within `forward_through`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        _keep_logs(self.callback_handler.callbacks, Path(self.args.output_dir or "."))

    def row_order(self, batch_size: int) -> Sampler[int]:
        """Return the order of training rows, by seed and epoch alone."""
        raise NotImplementedError

    def train_batches(self) -> BatchSampler | Sampler[list[int]]:
        """Return batches of all processes together."""
        size = self.args.train_batch_size * self.args.world_size
        return BatchSampler(self.row_order(size), size, self.args.dataloader_drop_last)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's share of each batch."""
        args = self.args
        shares = BatchShares(self.train_batches(), args.process_index, args.world_size)
        if not len(shares):
            raise OptionError(
                "no full batch: fewer rows than --set dataloader_drop_last=true keeps"
            )
        loader: DataLoader[Any] = DataLoader(
            _WeightedRows(self.train_dataset),
            batch_sampler=shares,
            collate_fn=partial(_collate_weighted, self.data_collator),
            worker_init_fn=partial(
                seed_worker,
                num_workers=args.dataloader_num_workers,
                rank=args.process_index,
            ),
            **self.loader_settings,
        )
        # "One process", because the sampler divides already.
        prepared: DataLoader[Any] = accelerate.data_loader.prepare_data_loader(
            loader,
            device=self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
        )
        return prepared

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of this process's rows, weighted by how many they are."""
        # Not there in evaluations, whose batches are not shared.
        share = inputs.pop(_LOSS_SHARE, 1.0)
        if self.model_accepts_loss_kwargs:
            # The library divides by the tokens of all processes itself.
            return super().compute_loss(
                model, inputs, return_outputs, num_items_in_batch
            )
        loss, outputs = self.batch_loss(model, inputs)
        loss = loss * share if share != 1 else loss
        return (loss, outputs) if return_outputs else loss

    def batch_loss(self, model: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Return the mean loss of a batch, and outputs for an evaluation."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        return loss, outputs

    @property
    def loader_settings(self) -> dict[str, Any]:
        """What a user may set of a `DataLoader`."""
        args = self.args
        return {
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory,
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
            "multiprocessing_context": args.dataloader_multiprocessing_context,
            "in_order": args.dataloader_in_order,
        }

    @staticmethod
    def forward_through(wrapped: Any, network: Any, function: Callable[[], Any]) -> Any:
        """Return ``function()``, called as the forward pass of `wrapped`.

        `wrapped` holds `network`, as ``DistributedDataParallel`` does, or is it.
        Gradients are averaged only of what runs inside of the wrapper's own call; a
        function that calls parts of the network has to take the forward pass's place.
        """
        with _forward_as(network, function):
            return wrapped()

    @staticmethod
    def require_finite(network: Any, remedy: str) -> None:
        """Raise `ModelError` if a weight is no number: the training diverged."""
        for name, weight in network.named_parameters():
            if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
                raise ModelError(
                    f"the training diverged ({name} is no number): {remedy}"
                )

    @staticmethod
    def group_lines(batch: int, rows: str) -> list[str]:
        """Return a line on how processes share a step, or on GPUs that are not used."""
        size, gpus = process_count(), torch.cuda.device_count()
        share = f"{batch // size} of the {batch} {rows} of a step each"
        if size > 1:
            return [f"{size} processes: {share}"]
        return [f"one of {gpus} GPUs: accelerate launch uses all"] if gpus > 1 else []


def _keep_logs(callbacks: Iterable[Any], checkpoints: Path) -> None:
    """Let what a tracker writes to disk lie beside the folder of checkpoints.

    TensorBoard's events would lie in it, and be removed with it when a training is
    done. TENSORBOARD_LOGGING_DIR, if set, has chosen a place already.
    """
    for callback in callbacks:
        if getattr(callback, "logging_dir", "") is None:
            folder = checkpoints.parent / LOGS_FOLDER / checkpoints.name
            callback.logging_dir = str(folder)


@contextmanager
def _forward_as(network: Any, function: Callable[..., Any]) -> Iterator[None]:
    own = network.__dict__.get("forward")  # accelerate may have put one there
    network.forward = function
    try:
        yield
    finally:
        if own is None:
            del network.forward
        else:
            network.forward = own
