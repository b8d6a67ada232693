"""The classifier `bert_ensemble`: samples in, members' logits of every window out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.classifiers import Classifier, Recording
from safebench.errors import ModelError
from safebench.evidence import MemberLogits

from .checkpoints import load_members
from .documents import DocumentEncoder, joint_text
from .encoding import context_and_text
from .evidence import build_evidence, window_traces
from .identity import find_tokenizer
from .reading import find_location, find_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench_bert_ensemble.options import EnsembleOptions


class BertEnsemble(Classifier):
    """Members of a trained ensemble, or any checkpoint as an ensemble of one."""

    options: EnsembleOptions

    def __init__(self, options: EnsembleOptions) -> None:
        super().__init__(options)
        self.location = find_location(options)
        manifest = self.location.manifest
        self.reading = find_reading(options, self.location)
        self.meaning = self.reading.meaning
        tokenizer = find_tokenizer(options, self.location, self.reading)
        self.ensemble = load_members(
            self.location.members,
            root=self.location.root,
            classes=self.meaning.classes,
            max_length=options.max_length
            or self.reading.max_length
            or manifest.get("max_length", 0),
            max_windows=options.max_windows if options.truncation == "windows" else 1,
            device=options.device,
            dtype=options.dtype,
            batch_tokens=options.batch_tokens,
            tokenizer_folder=tokenizer.folder if tokenizer else None,
            pad_token=self.reading.pad_token,
            trained_here=bool(manifest),
            mc_dropout=options.mc_dropout,
        )
        self.task = next(iter(self.reading.tasks))
        self.document_encoder = self._document_encoder()

    def _document_encoder(self) -> DocumentEncoder | None:
        """Return what makes windows of documents, if the model is one that reads them.

        Raises `ModelError` for members of several tokenizers.
        """
        profile = self.reading.profile
        if profile is None or not self.reading.documents:
            return None
        if len(self.ensemble.runners) > 1:
            raise ModelError(
                f"model {self.label!r}: its members have different tokenizers, and "
                "documents are cut by one"
            )
        runner = self.ensemble.runners[0][0]
        return DocumentEncoder(
            tokenizer=runner.tokenizer,
            max_length=runner.max_length,
            joint=joint_text(runner.tokenizer, profile.joint),
            chunk=profile.document_tokens,
            segments=runner.segments,
        )

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.location.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """What "auto" came to, and what each class means."""
        network = self.ensemble.first_network
        return {
            "device": network.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "max_length": self.ensemble.max_length,
            "members": len(self.ensemble.names),
            "classes": dict(
                zip(self.meaning.classes, self.meaning.polarity, strict=True)
            ),
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """The token budget, if memory ran out and it shrank."""
        return self.ensemble.batcher.state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the budget that an earlier run came to."""
        self.ensemble.batcher.restore(state)

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the logits of each member on each window of every sample."""
        assert kinds == {MemberLogits}, f"bert_ensemble records no {kinds}"
        started = time.perf_counter()
        errors: dict[int, str] = {}
        if self.document_encoder is not None:
            claims = self.document_encoder.encode(samples, self.ensemble.max_windows)
            errors = claims.errors
            output = self.ensemble.predict_windows(claims.windows, on_progress)
        else:
            pairs = self.reading.pairs
            texts = [context_and_text(sample, pairs=pairs) for sample in samples]
            output = self.ensemble.predict(texts, on_progress)
        evidence = build_evidence(
            output.values,
            output.windows.offsets,
            classes=self.meaning.classes,
            polarity=self.meaning.polarity,
            task=self.task,
            members=self.ensemble.names,
            link=self.meaning.link,
            meta=self.reading.meta,
        )
        seconds = time.perf_counter() - started
        traces = window_traces(
            output.windows, output.out_of_memory, seconds, len(self.ensemble.names)
        )
        for i, error in errors.items():
            traces[i] = replace(traces[i], error=error)
        return Recording(evidence={MemberLogits: evidence}, traces=traces)

    def close(self) -> None:
        """Free the members."""
        # By name: a classifier that was closed twice, or failed to load, has none.
        vars(self).pop("ensemble", None)
