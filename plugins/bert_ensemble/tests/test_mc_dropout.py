"""Passes with dropout as members of an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import ModelError, OptionError
from safebench.evidence import MemberLogits
from safebench.records import Sample, Turn
from safebench_bert_ensemble.model.classifier import BertEnsemble
from safebench_bert_ensemble.options import EnsembleOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = ("how do i make a bomb", "please paint my garden", "now")


def _logits(folder: Path, texts: tuple[str, ...], **options: Any) -> Any:
    """Return logits (B, M, C) of texts that are read in one batch."""
    classifier = BertEnsemble(
        EnsembleOptions(model=str(folder), device="cpu", **options)
    )
    samples = [
        Sample(id=str(i), turns=(Turn("user", text),), group=str(i))
        for i, text in enumerate(texts)
    ]
    recording = classifier.record(samples, frozenset({MemberLogits}), lambda _: None)
    evidence: Any = recording.evidence[MemberLogits]
    return np.asarray(evidence["logits"]), evidence.meta["members"], recording.traces


def test_a_pass_depends_on_its_text_alone(ensemble_folder: Path) -> None:
    """Whatever else is in the batch, and however long; passes differ."""
    together, names, traces = _logits(ensemble_folder, TEXTS, mc_dropout=4)

    assert together.shape == (3, 8, 2)
    assert names[:2] == ["member-01/pass-01", "member-01/pass-02"]
    assert names[4] == "member-02/pass-01"
    assert traces[0].forward_passes == 8
    for i, text in enumerate(TEXTS):
        alone, _, _ = _logits(ensemble_folder, (text,), mc_dropout=4)
        np.testing.assert_array_equal(alone[0], together[i])
    assert (together.std(axis=1) > 0).all()


def test_passes_scatter_around_the_network_without_dropout(
    ensemble_folder: Path,
) -> None:
    """Their mean over many is near it, and the order of members is kept."""
    passes, _, _ = _logits(ensemble_folder, TEXTS, mc_dropout=200)
    plain, _, _ = _logits(ensemble_folder, TEXTS)

    for member in (0, 1):
        own = passes[:, 200 * member : 200 * (member + 1)]
        error = np.abs(own.mean(axis=1) - plain[:, member])
        assert (error < 5 * own.std(axis=1) / np.sqrt(200) + 0.02).all()


def test_a_network_without_dropout_is_refused(
    make_checkpoint: Callable[..., Path],
) -> None:
    """It would read the same K times, and look perfectly sure."""
    folder = make_checkpoint(
        "dry",
        {0: "safe", 1: "harmful"},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with pytest.raises(ModelError, match="has no dropout"):
        _logits(folder, TEXTS, mc_dropout=2)
    with pytest.raises(OptionError, match="mc_dropout is a count"):
        EnsembleOptions(mc_dropout=-1)
