"""The baseline `frozen_encoder`: mean token embeddings and logistic regression."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording
from safebench.errors import ModelError
from safebench.evidence import MemberLogits
from safebench.neural.device import choose_threads, pick_device, pick_dtype
from safebench.neural.loading import quiet
from safebench.run.progress import progress
from safebench.training.job import Trained

from .bases import find_base
from .batching import Batcher
from .classifier import default_tokens, shrunk, trace_windows
from .encoding import read_text, token_limit
from .job import CLASSES, Part
from .loading import load_encoder, load_padding_tokenizer
from .locate import find_baseline
from .logistic import Fitted, as_logits, fit_logistic
from .measures import ensemble_measures
from .network import Reader, owners
from .options import FROZEN, FrozenOptions
from .trained import as_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.training.job import Training

    from .encoding import Windows
    from .options import TrainOptions

    Texts = Sequence[tuple[str, str]]

NAME = "frozen_encoder"
ENCODER = "encoder"
NUMBERS = "weights.npz"
_TINY = 1e-12


class Embedder:
    """An encoder whose mean token vector, of length one, is a text's embedding."""

    def __init__(self, folder: Path, label: str, options: FrozenOptions) -> None:
        place = pick_device(options.device)
        dtype = pick_dtype(options.dtype, place)
        network = load_encoder(folder, label, dtype).to(place)
        choose_threads(network, place)
        self.network = network
        tokenizer = load_padding_tokenizer(folder, label)
        limit = token_limit(network.config, tokenizer, options.max_length)
        self.reader = Reader([network], tokenizer, limit)
        self.most = options.max_windows if options.truncation == "windows" else 1
        self.full = default_tokens(options, place.type)
        self.batcher = Batcher(self.full)

    def embed(
        self, texts: Texts, tick: Callable[[int], None]
    ) -> tuple[Windows, Any, set[int]]:
        """Return windows, their embeddings (W, D), and windows without memory."""
        windows = self.reader.windows(texts, self.most)
        found, failed = self.reader.read(
            windows, owners(windows), self.batcher, _mean_token, tick
        )
        return windows, found[:, 0], failed


def _mean_token(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean of real tokens' last states, of length one, (B, D)."""
    states = network(**inputs).last_hidden_state.float()  # (B, L, D)
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    mean = (states * mask).sum(1) / mask.sum(1)
    unit: torch.Tensor = mean / mean.norm(dim=-1, keepdim=True).clamp_min(_TINY)
    return unit


def fit_frozen(training: Training) -> Trained:
    """Embed all rows once, and choose the strength by the validation rows."""
    options: TrainOptions = training.options
    base = find_base(options.base.removesuffix(FROZEN), options.revision)
    reading = FrozenOptions(
        max_length=options.max_length,
        truncation="right",
        device=options.device,
        batch_tokens=options.eval_tokens,
    )
    embedder = Embedder(base.folder, base.label, reading)
    parts = {
        name: (Part.of(dataset), dataset)
        for name, dataset in (
            ("train", training.train),
            ("val", training.val),
            ("test", training.test),
        )
    }
    vectors = {}
    for name, (part, _) in parts.items():
        with progress(f"embedding {name}", len(part.texts)) as tick:
            vectors[name] = embedder.embed(part.texts, tick)[1]
    y, y_val = parts["train"][0].labels, parts["val"][0].labels
    fitted = fit_logistic(vectors["train"], y, vectors["val"], y_val, training.seed)
    training.say(f"{base.label}, frozen: C = {fitted.strength:g}")
    _save(embedder, fitted, training.out)
    measures = []
    for name in ("val", "test"):
        dataset = parts[name][1]
        margin = fitted.margin(vectors[name])
        batch = _evidence(margin, np.arange(len(margin) + 1), dataset.task)
        measures += ensemble_measures(batch, dataset, name, training.seed)
    return Trained(
        classifier=NAME,
        manifest={
            "base": base.label,
            "revision": base.revision,
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "max_length": options.max_length,
            "strength": fitted.strength,
            "val_auroc": fitted.val_auroc,
        },
        measures=measures,
    )


def _save(embedder: Embedder, fitted: Fitted, out: Path) -> None:
    folder = out / ENCODER
    shutil.rmtree(folder, ignore_errors=True)
    with quiet():
        embedder.network.save_pretrained(folder)
        embedder.reader.tokenizer.save_pretrained(folder)
    np.savez(
        out / NUMBERS,
        coefficients=fitted.coefficients,
        intercept=fitted.intercept,
        strength=fitted.strength,
    )


def _load(folder: Path) -> Fitted:
    try:
        with np.load(folder / NUMBERS, allow_pickle=False) as numbers:
            return Fitted(
                numbers["coefficients"],
                float(numbers["intercept"]),
                float(numbers["strength"]),
                {},
            )
    except (OSError, ValueError, KeyError) as error:
        problem = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{folder} is no whole frozen encoder ({problem}): train it again"
        ) from None


class FrozenEncoder(Classifier):
    """A trained linear model on a frozen encoder as a guard."""

    options: FrozenOptions

    def __init__(self, options: FrozenOptions) -> None:
        super().__init__(options)
        self.found = find_baseline(options.model, NAME, "minilm-frozen")
        self.fitted = _load(self.found.root)
        known = self.found.manifest.get("max_length", 0)
        reading = FrozenOptions(
            max_length=options.max_length or known,
            truncation=options.truncation,
            max_windows=options.max_windows,
            dtype=options.dtype,
            device=options.device,
            batch_tokens=options.batch_tokens,
        )
        self.embedder = Embedder(self.found.root / ENCODER, self.found.label, reading)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.found.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what "auto" came to."""
        network = self.embedder.network
        return {
            "device": network.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "max_length": self.embedder.reader.limit,
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """Return the token budget, if memory ran out and it shrank."""
        return shrunk(self.embedder.batcher, self.embedder.full)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the budget that an earlier run came to."""
        self.embedder.batcher.budget = state["batch_tokens"]

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return the logits of the one member on each window of every sample."""
        assert wanted == {MemberLogits}, f"frozen_encoder records no {wanted}"
        started = time.perf_counter()
        texts = [read_text(sample) for sample in samples]
        windows, vectors, failed = self.embedder.embed(texts, tick)
        task = self.found.manifest.get("task", "prompt_harm")
        evidence = _evidence(self.fitted.margin(vectors), windows.offsets, task)
        seconds = time.perf_counter() - started
        traces = trace_windows(windows, failed, seconds, 1)
        return Recording(evidence={MemberLogits: evidence}, traces=traces)

    def close(self) -> None:
        """Free the encoder."""
        vars(self).pop("embedder", None)


def _evidence(margin: Any, offsets: Any, task: str) -> MemberLogits:
    return as_evidence(
        as_logits(margin),
        offsets,
        classes=CLASSES,
        polarity=(-1, 1),
        task=task,
        members=[NAME],
    )
