"""What the outputs of a classification head mean, from its configuration alone.

Names decide, and where they are silent the user is asked: an index says nothing about
harm. Needs no torch, so that a model is refused before it is loaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError, did_you_mean
from safebench.torch_utils import ModelFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROBLEM_TYPES = (
    "regression",
    "single_label_classification",
    "multi_label_classification",
)
LINKS = {
    "softmax": "single_label_classification",
    "sigmoid": "multi_label_classification",
}
# Class names of published checkpoints, with other characters than a-z, 0-9 as "_".
_HARMFUL_NAMES = """
    unsafe harmful harm toxic toxicity hate hateful offensive abusive abuse insult
    threat obscene severe_toxic severe_toxicity identity_hate identity_attack
    sexual_explicit violence nsfw malicious jailbreak injection
    flagged spam unethical profanity hate_speech hatespeech
"""
_SAFE_NAMES = """
    safe unharmful harmless benign non_toxic nontoxic not_toxic neutral ok normal
    clean legit legitimate non_hate nothate not_hate non_offensive not_offensive
    sfw ham acceptable ethical none
"""


@dataclass(frozen=True, slots=True)
class ClassMeaning:
    """C classes in the order of the logits, and what their numbers say.

    `polarity` (C): 1 for harm, -1 for safe. `link`: softmax where the classes exclude
    each other, sigmoid where each stands alone. With `probability` False the score
    only ranks; `note` says why, or how the classes are read.
    """

    classes: tuple[str, ...]
    polarity: tuple[int, ...]
    link: str
    probability: bool = True
    note: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """What identifies evidence beyond names; empty for ordinary heads."""
        return {"reading": self.note} if self.note else {}

    @property
    def meta(self) -> dict[str, Any]:
        """What strategies read beside link and classes; empty for ordinary heads."""
        unusual = {"note": self.note} if self.note else {}
        return unusual if self.probability else unusual | {"probability": False}


def read_class_meaning(
    folders: Sequence[Path],
    harmful: Sequence[str],
    label: str,
    *,
    names: Sequence[str] = (),
    link: str = "",
) -> ClassMeaning:
    """Return what the classes of some members mean; `harmful` names those of harm.

    `names` and `link` are told by the user, and stand over those of the configuration.
    Raises `OptionError` where names do not tell, and `ModelError` where configurations
    contradict themselves, each other or the user.
    """
    classes, problem = read_heads(folders, label)
    if names:
        classes = _renamed(classes, names, label)
    polarity = class_polarities(classes, harmful, label)
    if link:
        return _told_link(classes, polarity, problem, link, label)
    if len(classes) == 1 or problem == "regression":
        return _single_outputs(classes, polarity, problem)
    if problem == "multi_label_classification":
        return ClassMeaning(classes, polarity, "sigmoid")
    if -1 not in polarity:
        if problem:
            raise OptionError(
                f"model {label!r}: its classes {', '.join(classes)} exclude each other "
                "(problem_type in config.json), so if all of them mean harm every text "
                f"is harmful: say which do, such as harmful={classes[-1]}"
            )
        note = "all classes mean harm, so each is read alone, by a sigmoid"
        return ClassMeaning(classes, polarity, "sigmoid", note=note)
    return ClassMeaning(classes, polarity, "softmax")


def _renamed(
    classes: tuple[str, ...], names: Sequence[str], label: str
) -> tuple[str, ...]:
    """Return the user's names of the classes; `OptionError` for another number."""
    if len(names) != len(classes):
        raise OptionError(
            f"model {label!r} has {len(classes)} classes, and classes= names "
            f"{len(names)}: {', '.join(classes)} are {', '.join(names)}?"
        )
    if len({name.casefold() for name in names}) < len(names):
        raise OptionError(f"classes={'+'.join(names)}: two classes have one name")
    return tuple(names)


def _told_link(
    classes: tuple[str, ...],
    polarity: tuple[int, ...],
    problem: str,
    link: str,
    label: str,
) -> ClassMeaning:
    """Return the meaning by the user's link; raises for what contradicts it."""
    expected = LINKS[link]
    if problem not in ("", expected):
        raise ModelError(
            f"model {label!r}: problem_type in config.json is {problem!r}, which "
            f"link={link} contradicts: it is for {expected}"
        )
    if link == "softmax" and len(classes) == 1:
        raise OptionError(
            f"link=softmax: model {label!r} has one output, and there is nothing to "
            "weigh it against; say link=sigmoid"
        )
    if link == "softmax" and -1 not in polarity:
        raise OptionError(
            f"link=softmax: the classes {', '.join(classes)} exclude each other, so if "
            "all of them mean harm every text is harmful; say link=sigmoid, or which "
            f"mean harm, such as harmful={classes[-1]}"
        )
    return ClassMeaning(classes, polarity, link)


def read_heads(folders: Sequence[Path], label: str) -> tuple[tuple[str, ...], str]:
    """Return the names of classes and the ``problem_type`` that all members share."""
    configs = [
        ModelFolder(folder, label).read_json("config.json") for folder in folders
    ]
    for config in configs:
        _refuse_headless(config, label)
    heads = [
        (class_names(config, label), _problem(config, label)) for config in configs
    ]
    for folder, head in zip(folders, heads, strict=True):
        if head != heads[0]:
            raise ModelError(
                f"model {label!r}: {folders[0].name} and {folder.name} have other "
                "classes, or in another order: members of one ensemble share them"
            )
    return heads[0]


def _refuse_headless(config: Mapping[str, Any], label: str) -> None:
    """Raise `ModelError` for a base, whose classes nobody could name."""
    architectures = config.get("architectures")
    names = [str(n) for n in architectures] if isinstance(architectures, list) else []
    if names and not any("Classification" in name for name in names):
        raise ModelError(
            f"model {label!r} is no classifier, but a {names[0]}: an encoder without a "
            "head is a --base for safebench train bert_ensemble"
        )


def _single_outputs(
    classes: tuple[str, ...], polarity: tuple[int, ...], problem: str
) -> ClassMeaning:
    """Return the meaning of outputs that are numbers of their own."""
    if problem == "multi_label_classification":
        return ClassMeaning(classes, polarity, "sigmoid")
    # The library trains a head of one output by squared error unless it is told.
    note = (
        "a regression head: one half stands for an output of 0, and the score ranks "
        "but is no probability"
    )
    return ClassMeaning(classes, polarity, "sigmoid", probability=False, note=note)


def class_names(config: Mapping[str, Any], label: str) -> tuple[str, ...]:
    """Return class names in the order of the logits.

    Raises `ModelError` where ``id2label``, ``label2id`` and ``num_labels`` contradict
    each other, or two classes share a name.
    """
    count = config.get("num_labels")
    by_index = _by_index(config.get("id2label"), label)
    names = dict.fromkeys(by_index.values())
    if len({name.casefold() for name in names}) < len(by_index):
        raise ModelError(
            f"model {label!r}: id2label in config.json gives one name to two classes: "
            f"{', '.join(by_index.values())}"
        )
    inverse = _inverse(config.get("label2id"), label)
    # Who sets one of the two leaves the other at the library's default.
    if not by_index or (_is_default(by_index) and len(inverse) == len(by_index)):
        by_index = inverse or by_index
    elif inverse and not _is_default(inverse) and inverse != by_index:
        index = next(i for i in by_index if inverse.get(i) != by_index[i])
        raise ModelError(
            f"model {label!r}: config.json contradicts itself: class {index} is "
            f"{by_index[index]!r} by id2label and {inverse.get(index)!r} by label2id; "
            "correct it in a copy of the model"
        )
    if by_index and count not in (None, len(by_index)):
        raise ModelError(
            f"model {label!r}: config.json names {len(by_index)} classes and says "
            f"num_labels {count}"
        )
    total = len(by_index) or (count if isinstance(count, int) else 2)
    return tuple(by_index.get(i, f"LABEL_{i}") for i in range(total))


def _by_index(id2label: Any, label: str) -> dict[int, str]:
    """Return names by index from 0 on; `ModelError` for anything else."""
    try:
        by_index = {int(key): str(name) for key, name in (id2label or {}).items()}
    except (AttributeError, TypeError, ValueError):
        by_index = {-1: ""}
    if sorted(by_index) != list(range(len(by_index))):
        raise ModelError(
            f"model {label!r}: id2label in config.json does not name the classes "
            "0, 1, 2, ..."
        )
    return dict(sorted(by_index.items()))


def _inverse(label2id: Any, label: str) -> dict[int, str]:
    """Return names by index from ``label2id``; `ModelError` for what is no object."""
    try:
        pairs = {str(name): int(index) for name, index in (label2id or {}).items()}
    except (AttributeError, TypeError, ValueError):
        raise ModelError(
            f"model {label!r}: label2id in config.json does not number the classes"
        ) from None
    return dict(sorted((index, name) for name, index in pairs.items()))


def _is_default(by_index: Mapping[int, str]) -> bool:
    return all(name == f"LABEL_{index}" for index, name in by_index.items())


def _problem(config: Mapping[str, Any], label: str) -> str:
    problem = config.get("problem_type") or ""
    if problem and problem not in PROBLEM_TYPES:
        raise ModelError(
            f"model {label!r}: problem_type is {problem!r} in config.json"
            f"{did_you_mean(str(problem), PROBLEM_TYPES)}; there is: "
            f"{', '.join(PROBLEM_TYPES)}"
        )
    return str(problem)


def class_polarities(
    classes: Sequence[str], harmful: Sequence[str], label: str
) -> tuple[int, ...]:
    """Return 1 for classes that mean harm and -1 for safe ones, in order.

    `harmful` names the former; without, well-known names are understood. Raises
    `OptionError` for names that say nothing, such as LABEL_1.
    """
    if harmful:
        return _polarities_by_name(classes, harmful, label)
    polarities = tuple(map(_name_polarity, classes))
    unknown = [name for name, sign in zip(classes, polarities, strict=True) if not sign]
    if len(classes) == 1 and unknown:
        raise OptionError(
            f"model {label!r} has one output, {classes[0]}: does a high value mean "
            f"harm? If so, say harmful={classes[0]}"
        )
    if unknown or (len(classes) > 1 and set(polarities) == {-1}):
        listed = ", ".join(classes)
        raise OptionError(
            f"model {label!r} has the classes {listed}: which of them mean harm? Say "
            f"harmful=NAME (several: A+B), such as harmful={(unknown or classes)[-1]}, "
            "or name a profile=NAME or FILE"
        )
    return polarities


def _polarities_by_name(
    classes: Sequence[str], harmful: Sequence[str], label: str
) -> tuple[int, ...]:
    known = {name.casefold() for name in classes}
    for name in harmful:
        if name.casefold() not in known:
            listed = ", ".join(classes)
            raise OptionError(
                f"model {label!r} has no class {name!r}{did_you_mean(name, classes)}\n"
                f"  classes: {listed}"
            )
    chosen = {name.casefold() for name in harmful}
    return tuple(1 if name.casefold() in chosen else -1 for name in classes)


def _name_polarity(name: str) -> int:
    """Return 1 for harm, -1 for safe, 0 for a name that says neither."""
    word = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
    return (word in _HARMFUL_NAMES.split()) - (word in _SAFE_NAMES.split())
