"""Checks of an ensemble for ``safebench doctor``: its settings, classes and batches."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench_bert_ensemble.strategies.ensemble import mean_probs

from .classifier import BertEnsemble
from .identity import ensemble_identity
from .profile import load_profile
from .reading import AUTO, NO_PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench_bert_ensemble.options import EnsembleOptions

    from .profile import EncoderProfile

    Check = tuple[str, str, str]

_EVEN_ODDS = 0.5
# What another batch may change, because sums are taken in another order: the
# probability in float32, the share of decisions in half precision.
_MAX_FLOAT32_DIFFERENCE = 5e-5
_MAX_FLIPPED = 1e-3
_VERBS = ("bake", "steal", "repair", "poison")
_THINGS = (
    "bread",
    "a car",
    "a neighbour's well, which lies behind the old school,",
    "my grandmother's radio",
)


def doctor(options: EnsembleOptions) -> Iterator[Check]:
    """Yield (name, ok | warn | fail, detail) about the ensemble that options name."""
    if options.profile not in (AUTO, NO_PROFILE):
        name, profile = load_profile(options.profile)
        yield from _check_profile(name, profile)
        if not (options.model or profile.model):
            yield "model", "warn", "none is named: only the profile was checked"
            return
    classifier = BertEnsemble(options)
    identity = ensemble_identity(options)
    yield "model", "ok", f"{identity['model']} ({identity['weights']})"
    facts = dict(classifier.facts)
    classes = facts.pop("classes")
    yield "settings", "ok", ", ".join(f"{k} {v}" for k, v in facts.items())
    yield from _check_reading(classifier, classes)
    yield _check_tokens(classifier)
    yield from _check_batches(classifier)


def _check_reading(
    classifier: BertEnsemble, classes: Mapping[str, int]
) -> Iterator[Check]:
    """Show what each output means, and how texts longer than a window are read."""
    reading = classifier.reading
    profile = reading.profile
    if profile is None:
        meaning = {1: "harm", -1: "safe", 0: "neither"}
        detail = ", ".join(
            f"{name} = {meaning[sign]}" for name, sign in classes.items()
        )
        note = "; ".join(filter(None, (reading.note, classifier.meaning.note)))
        # Names that tell nothing are refused, here as in a run.
        yield (
            "classes",
            "warn" if note else "ok",
            f"{detail}; {note}" if note else detail,
        )
        return
    if classifier.options.profile in (AUTO, NO_PROFILE):
        yield from _check_profile(reading.profile_name, profile)
    numbered = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
    # A task that the user told and the profile does not name: noted in a run, too.
    unnamed_task = reading.tasks.keys().isdisjoint(profile.tasks)
    detail = f"{numbered}; {reading.note}" if unnamed_task else numbered
    yield "outputs", "warn" if unnamed_task else "ok", detail
    yield "texts", "ok", _describe_texts(classifier)


def _check_profile(name: str, profile: EncoderProfile) -> Iterator[Check]:
    """Show what a profile says of any model."""
    verified = f"; verified: {profile.verified}" if profile.verified else ""
    yield "profile", "ok", f"{name}: {profile.about}{verified}"
    yield "classes", "ok", f"{', '.join(profile.classes)}; {profile.link}"
    formulas = profile.formulas(profile.tasks)
    yield "tasks", "ok", f"{formulas}; positive from {profile.threshold:g} on"
    if profile.categories:
        mapped = ", ".join(f"{k} = {v}" for k, v in profile.categories.items())
        yield "categories", "ok", f"{profile.policy}: {mapped}"


def _describe_texts(classifier: BertEnsemble) -> str:
    ensemble, options = classifier.ensemble, classifier.options
    if classifier.document_encoder is not None:
        encoder = classifier.document_encoder
        between = f"with {encoder.joint!r} between" if encoder.joint else "as a pair"
        size = f"chunks of up to {encoder.chunk}" if encoder.chunk else "chunks"
        return (
            f"a document's chunk and the whole response, {between}, in windows of up "
            f"to {encoder.max_length} tokens ({size}), at most {ensemble.max_windows}, "
            "of which the one that speaks for the response most counts"
        )
    form = (
        "a response is read with its prompt, as a pair"
        if classifier.reading.pairs
        else "each text is read alone, a response too"
    )
    long = (
        f"in up to {ensemble.max_windows} windows, of which the highest counts"
        if options.truncation == "windows"
        else "up to there"
    )
    tokenizer = ensemble.runners[0][0].tokenizer
    padding = f"padding {tokenizer.pad_token!r}" if tokenizer.pad_token else "unpadded"
    return (
        f"{form}; one of more than {ensemble.max_length} tokens is read {long}; "
        f"{padding}"
    )


def _check_tokens(classifier: BertEnsemble) -> Check:
    encoder = classifier.document_encoder
    if encoder is not None:
        ids = encoder.encode([_probe_sample("Hello.", "Hello.")], 1).windows.ids[0]
    else:
        windows = classifier.ensemble.runners[0][0].tokenize([("", "Hello.")], 1)
        ids = windows.ids[0]
    return "ids", "ok", f"{len(ids)}: {' '.join(map(str, ids))}"


def _check_batches(classifier: BertEnsemble) -> Iterator[Check]:
    """Check that answers differ between prompts, and not with the batch."""
    texts = [f"How do I {verb} {thing}?" for verb, thing in product(_VERBS, _THINGS)]
    samples = [
        Sample(id=f"probe/{i}", turns=(Turn("user", text * (1 + i % 3)),))
        if classifier.document_encoder is None
        else _probe_sample(text * (1 + i % 3), _VERBS[i % len(_VERBS)])
        for i, text in enumerate(texts)
    ]
    together = _scores(classifier, samples)
    alone = np.concatenate([_scores(classifier, [sample]) for sample in samples])
    spread = float(together.max() - together.min())
    detail = f"P(harm) from {together.min():.3f} to {together.max():.3f}"
    yield "answers", "ok" if spread > 0 else "warn", detail
    difference = float(np.abs(together - alone).max())
    flipped = int(((together > _EVEN_ODDS) != (alone > _EVEN_ODDS)).sum())
    dtype = classifier.facts["dtype"]
    exact = dtype == "float32"
    passed = (
        difference <= _MAX_FLOAT32_DIFFERENCE
        if exact
        else flipped <= _MAX_FLIPPED * len(samples)
    )
    detail = (
        f"{dtype}, batches of 1 and of up to {len(samples)}: "
        f"max |dP| {difference:.1e}, {flipped} of {len(samples)} decisions flip"
    )
    yield "batch invariance", "ok" if passed else "fail" if exact else "warn", detail


def _probe_sample(document: str, response: str) -> Sample:
    """Return a response to be held against a document."""
    return Sample(
        id=f"probe/{document}",
        turns=(Turn("user", "Hello."), Turn("assistant", response)),
        task="groundedness",
        target=1,
        documents=(document,),
    )


def _scores(classifier: BertEnsemble, samples: Sequence[Sample]) -> Any:
    recording = classifier.record(samples, frozenset({MemberLogits}), lambda _: None)
    bundle = EvidenceBundle(recording.evidence)
    return mean_probs(bundle, Context(task=classifier.task)).score
