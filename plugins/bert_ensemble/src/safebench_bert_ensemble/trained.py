"""Trained members from their folders, to be measured or asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import ModelError
from safebench.evidence import MemberLogits
from safebench.neural.device import choose_threads, pick_device, pick_dtype

from .bases import complete
from .loading import load_classifier, load_padding_tokenizer
from .locate import FACTS
from .network import Ensemble, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .job import Job

TOKENIZER = "tokenizer.json"


def finished_facts(job: Job) -> list[dict[str, Any]]:
    """Return what each member's folder says of it, with its path, for the manifest."""
    return [member_facts(job.folder(i)) for i in range(len(job.bases))]


def member_facts(folder: Path) -> dict[str, Any]:
    """Return what a finished member's folder says of it; `ModelError` if damaged."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        complete(folder)
    except (OSError, ValueError, ModelError):
        raise ModelError(
            f"{folder} is damaged: remove it, and train again with --resume"
        ) from None
    return {"path": folder.name, **facts}


def load_members(
    folders: Sequence[Path],
    *,
    root: Path,
    classes: Sequence[str],
    max_length: int,
    max_windows: int,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int,
) -> Ensemble:
    """Return the ensemble of some members; one without a tokenizer has the root's."""
    place = pick_device(device)
    shared = (
        load_padding_tokenizer(root, root.name)
        if (root / TOKENIZER).is_file()
        else None
    )
    members = []
    for folder in folders:
        label = folder.name if folder == root else f"{root.name}/{folder.name}"
        network = load_classifier(folder, label, pick_dtype(dtype, place)).to(place)
        choose_threads(network, place)
        own = (folder / TOKENIZER).is_file() or shared is None
        tokenizer = load_padding_tokenizer(folder, label) if own else shared
        members.append(Member(folder.name, network, tokenizer))
    return Ensemble(members, classes, max_length, max_windows, batch_tokens)


def member_logits(
    ensemble: Ensemble,
    texts: Sequence[tuple[str, str]],
    task: str,
    tick: Callable[[int], None],
) -> MemberLogits:
    """Return the members' logits on some texts as evidence for a task."""
    answers = ensemble.read(texts, tick)
    return as_evidence(
        answers.values,
        answers.windows.offsets,
        classes=ensemble.classes,
        polarity=(-1, 1),
        task=task,
        members=ensemble.names,
    )


def as_evidence(
    logits: Any,
    offsets: Any,
    *,
    classes: Sequence[str],
    polarity: Sequence[int],
    task: str,
    members: Sequence[str],
    link: str = "softmax",
) -> MemberLogits:
    """Return evidence from logits (W, M, C) with the windows of each text."""
    meaning = zip(classes, polarity, strict=True)
    return MemberLogits(
        {"logits": np.asarray(logits, np.float32)},
        offsets={"W": offsets},
        meta={
            "link": link,
            "classes": list(classes),
            "tasks": {name: [task, sign] for name, sign in meaning if sign},
            "members": list(members),
        },
    )
