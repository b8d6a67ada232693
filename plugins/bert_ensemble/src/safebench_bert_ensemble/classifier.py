"""The classifier `bert_ensemble`: samples in, members' logits of every window out."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import MemberLogits

from .encoding import read_text
from .labels import polarities
from .locate import find_ensemble
from .network import owners
from .trained import as_evidence, load_members

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample

    from .batching import Batcher
    from .encoding import Windows
    from .locate import Found
    from .options import EnsembleOptions

_BATCH_TOKENS = {"cpu": 8192}
_BATCH_TOKENS_ELSEWHERE = 65536
NO_MEMORY = "out of memory, even alone in its batch"


def default_tokens(options: Any, device: str) -> int:
    """Return the token budget of a batch: as asked, or by device."""
    return options.batch_tokens or _BATCH_TOKENS.get(device, _BATCH_TOKENS_ELSEWHERE)


class BertEnsemble(Classifier):
    """Members of a trained ensemble, or any checkpoint as an ensemble of one."""

    options: EnsembleOptions

    def __init__(self, options: EnsembleOptions) -> None:
        super().__init__(options)
        from safebench.neural.device import pick_device

        self.found: Found = find_ensemble(options.model, options.revision)
        place = pick_device(options.device).type
        self.batch_tokens = default_tokens(options, place)
        known = self.found.manifest
        self.classes = _classes(self.found)
        self.ensemble = load_members(
            self.found.members,
            root=self.found.root,
            classes=self.classes,
            max_length=options.max_length or known.get("max_length", 0),
            max_windows=options.max_windows if options.truncation == "windows" else 1,
            device=options.device,
            dtype=options.dtype,
            batch_tokens=self.batch_tokens,
        )
        self.task: str = options.task or known.get("task", "prompt_harm")
        self.polarity = polarities(self.classes, options.harmful, self.found.label)
        self.link = _link(self.ensemble.readers[0][0].networks[0].config)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.found.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what "auto" came to."""
        network = self.ensemble.readers[0][0].networks[0]
        return {
            "device": network.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "max_length": self.ensemble.limit,
            "members": len(self.ensemble.names),
            "classes": dict(zip(self.classes, self.polarity, strict=True)),
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """Return the token budget, if memory ran out and it shrank."""
        return shrunk(self.ensemble.batcher, self.batch_tokens)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the budget that an earlier run came to."""
        self.ensemble.batcher.budget = state["batch_tokens"]

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return the logits of each member on each window of every sample."""
        assert wanted == {MemberLogits}, f"bert_ensemble records no {wanted}"
        started = time.perf_counter()
        answers = self.ensemble.read([read_text(s) for s in samples], tick)
        evidence = as_evidence(
            answers.values,
            answers.windows.offsets,
            classes=self.classes,
            polarity=self.polarity,
            task=self.task,
            members=self.ensemble.names,
            link=self.link,
        )
        seconds = time.perf_counter() - started
        traces = trace_windows(
            answers.windows, answers.failed, seconds, len(self.ensemble.names)
        )
        return Recording(evidence={MemberLogits: evidence}, traces=traces)

    def close(self) -> None:
        """Free the members."""
        vars(self).pop("ensemble", None)


def trace_windows(
    windows: Windows, failed: set[int], seconds: float, passes: int
) -> list[Trace]:
    """Return what each text took; seconds are shared out by tokens."""
    lengths = np.asarray(windows.lengths)
    owner = np.asarray(owners(windows), dtype=np.int64)
    size = len(windows.dropped)
    tokens = np.bincount(owner, lengths, minlength=size).astype(int)
    counts = np.diff(windows.offsets)
    without = {int(owner[row]) for row in failed}
    total = max(int(tokens.sum()), 1)
    return [
        Trace(
            tokens_in=int(tokens[i]),
            tokens_dropped=int(windows.dropped[i]),
            dropped_side="right" if windows.dropped[i] else "",
            windows=int(counts[i]),
            forward_passes=float(counts[i] * passes),
            seconds=seconds * float(tokens[i]) / total,
            error=NO_MEMORY if i in without else None,
        )
        for i in range(size)
    ]


def shrunk(batcher: Batcher, full: int) -> dict[str, Any]:
    """Return a token budget that shrank when memory ran out, for a resumed run."""
    return {"batch_tokens": batcher.budget} if batcher.budget < full else {}


def _classes(found: Found) -> list[str]:
    """Return class names in the order of the logits, from the first member's config."""
    text = (found.members[0] / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    names: dict[str, str] = config.get("id2label") or {}
    count = config.get("num_labels") or len(names) or 2
    return [names.get(str(i), f"LABEL_{i}") for i in range(count)]


def _link(config: Any) -> str:
    """Return sigmoid for one class or several at once, else softmax."""
    several = config.problem_type == "multi_label_classification"
    return "sigmoid" if several or config.num_labels == 1 else "softmax"
