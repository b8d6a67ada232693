"""A published encoder's profile: what its outputs mean, which its files do not say.

A profile is a YAML file, ours (``profiles/NAME.yaml``) or a user's. Needs no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from safebench import GuardProfile
from safebench.errors import ModelError, SafebenchError, did_you_mean
from safebench.policies import load_policy
from safebench.profiles import parse_section, profile_names, read_profile
from safebench.records import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDER = "safebench_bert_ensemble:profiles"
DOCUMENT_TASK = "groundedness"
_ANY = "any"  # in the place of all classes
_SHORTEST_WINDOW = 8  # special tokens and a few words
# Names that the library, or a careless author, gives: they only count the classes.
_NUMBERED = re.compile(r"(?:label|class)?[ _]?(\d+)", re.IGNORECASE)


def _help(text: str) -> dict[str, Any]:
    return {"help": text}


@dataclass(frozen=True, kw_only=True)
class AllBut:
    """One minus the probability of some classes."""

    all_but: tuple[str, ...] = field(metadata=_help("Classes that are not positive."))


@dataclass(frozen=True, kw_only=True)
class ModelMatch:
    """Which models a profile is for, where the user names none."""

    models: tuple[str, ...] = field(
        default=(), metadata=_help("Hub ids; * stands for any text.")
    )
    architectures: tuple[str, ...] = field(
        default=(), metadata=_help("What config.json must name besides.")
    )
    class_names: bool = field(
        default=False,
        metadata=_help("The names of the classes in config.json suffice."),
    )


@dataclass(frozen=True, kw_only=True)
class EncoderProfile:
    """What the outputs of an encoder mean and how it is asked.

    `classes` name the outputs by index. `tasks` say for each task which classes are
    positive: a name, several, ``any`` of them, or ``all_but`` some. Under ``softmax``
    their probabilities add up; under ``sigmoid`` the likeliest counts. Raises
    ValueError for what cannot be meant.
    """

    about: str = field(metadata=_help("One line for lists."))
    classes: tuple[str, ...] = field(metadata=_help("Names of the outputs, in order."))
    tasks: dict[str, AllBut | tuple[str, ...]] = field(
        metadata=_help("Which classes are positive, by task.")
    )
    link: Literal["softmax", "sigmoid"] = field(
        default="softmax", metadata=_help("sigmoid: each output stands alone.")
    )
    model: str = field(
        default="", metadata=_help("Folder or hub id, where the user names no model.")
    )
    match: ModelMatch = field(default=ModelMatch(), metadata=_help("Models it is for."))
    policy: str = field(default="", metadata=_help("Taxonomy of the categories."))
    categories: dict[str, str] = field(
        default_factory=dict, metadata=_help("Classes that are codes of the policy.")
    )
    threshold: float = field(
        default=0.5, metadata=_help("Positive from this probability on.")
    )
    input: Literal["text", "pair", "documents"] = field(
        default="text",
        metadata=_help(
            "The judged text alone; a response with its prompt; or a response (second) "
            "with a chunk of a document (first), of which the one that speaks for it "
            "most counts."
        ),
    )
    document_tokens: int = field(
        default=0,
        metadata=_help("Tokens of a document's chunk; 0: as many as fit."),
    )
    joint: str = field(
        default="",
        metadata=_help(
            "Text between document and response, or eos, sep; none: a pair of texts."
        ),
    )
    max_length: int = field(
        default=0, metadata=_help("Tokens of a window; 0: what the model can take.")
    )
    pad_token: str = field(
        default="", metadata=_help("eos, bos, unk, or a token of the vocabulary.")
    )
    named_classes: bool = field(
        default=False,
        metadata=_help(
            "The model's own names of classes have to tell: models of this kind number "
            "them differently."
        ),
    )
    tokenizer: str = field(
        default="",
        metadata=_help("Where it is, if the model has none: folder, hub id."),
    )
    verified: str = field(default="", metadata=_help("What was compared with what."))

    def __post_init__(self) -> None:
        self._check_classes()
        self._check_tasks()
        self._check_categories()
        self._check_input()
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: a probability, got {self.threshold}")
        if self.max_length and self.max_length < _SHORTEST_WINDOW:
            raise ValueError(
                f"max_length: at least {_SHORTEST_WINDOW}, got {self.max_length}"
            )

    def _check_classes(self) -> None:
        if not self.classes:
            raise ValueError("classes: at least one")
        # Folded, as names of configurations are compared: two that differ in case alone
        # are one.
        names = [fold(name) for name in self.classes]
        for i, name in enumerate(names):
            if not name:
                raise ValueError(
                    f"classes: {self.classes[i]!r} has no letter and no digit"
                )
            if name in names[:i]:
                raise ValueError(f"classes: {self.classes[i]!r} occurs twice")
        if len(names) == 1 and self.link == "softmax":
            raise ValueError("link: a single output goes through a sigmoid")

    def _check_tasks(self) -> None:
        if not self.tasks:
            raise ValueError(f"tasks: at least one of {', '.join(TASKS)}")
        for task, positive in self.tasks.items():
            if task not in TASKS:
                raise ValueError(
                    f"tasks: unknown task {task!r}{did_you_mean(task, TASKS)}; there "
                    f"is: {', '.join(TASKS)}"
                )
            names = self._named(positive)
            for name in names:
                self._check_name(f"tasks, {task}", name)
            if not names:
                raise ValueError(f"tasks, {task}: no class is named")
            if len(set(names)) == len(self.classes) and self.link == "softmax":
                raise ValueError(
                    f"tasks, {task}: all classes are named, so that no two texts differ"
                )

    def _check_categories(self) -> None:
        if bool(self.policy) != bool(self.categories):
            raise ValueError("policy and categories go together: both or neither")
        if not self.policy:
            return
        try:
            codes = load_policy(self.policy).codes
        except SafebenchError as error:
            raise ValueError(f"policy: {error.message}") from None
        for name, code in self.categories.items():
            self._check_name("categories", name)
            if code not in codes:
                raise ValueError(
                    f"categories, {name}: policy {self.policy} has no {code!r}"
                    f"{did_you_mean(code, codes)}"
                )

    def _check_input(self) -> None:
        if self.input == "documents":
            if others := [task for task in self.tasks if task != DOCUMENT_TASK]:
                raise ValueError(
                    f"input: documents answers {DOCUMENT_TASK}, and not {others[0]}"
                )
            if self.categories:
                raise ValueError("input: documents has no categories")
        elif DOCUMENT_TASK in self.tasks:
            raise ValueError(
                f"tasks, {DOCUMENT_TASK}: needs input: documents, against which a "
                "response is held"
            )
        elif self.joint or self.document_tokens:
            name = "joint" if self.joint else "document_tokens"
            raise ValueError(f"{name}: is for input: documents")
        if self.document_tokens and self.document_tokens < _SHORTEST_WINDOW:
            raise ValueError(
                f"document_tokens: at least {_SHORTEST_WINDOW}, got "
                f"{self.document_tokens}"
            )

    def _check_name(self, where: str, name: str) -> None:
        if name not in self.classes:
            raise ValueError(
                f"{where}: no class {name!r}{did_you_mean(name, self.classes)}; there "
                f"is: {', '.join(self.classes)}"
            )

    def _named(self, positive: AllBut | tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes that a task names."""
        if isinstance(positive, AllBut):
            return positive.all_but
        is_any = positive == (_ANY,) and _ANY not in self.classes
        return self.classes if is_any else positive

    def signs(self, task: str, classes: Sequence[str]) -> tuple[int, ...]:
        """Return what each of some classes says about a task: 1, -1 or 0, (C,)."""
        positive = self.tasks[task]
        if not isinstance(positive, AllBut):
            named = self._named(positive)
            return tuple(int(name in named) for name in classes)
        # Exclusive classes add up to 1: one minus some is the sum of the others.
        rest = int(self.link == "softmax")
        return tuple(-1 if name in positive.all_but else rest for name in classes)

    def formula(self, task: str) -> str:
        """Say in words which number answers a task."""
        positive = self.tasks[task]
        names = self._named(positive)
        if isinstance(positive, AllBut):
            return f"1 - {_probability(names, self.link)}"
        if len(names) == len(self.classes) > 1:
            return f"largest P of the {len(names)} classes"
        return _probability(names, self.link)

    def formulas(self, tasks: Iterable[str]) -> str:
        """Say in words which number answers each of some tasks."""
        by_formula: dict[str, list[str]] = {}
        for task in tasks:
            by_formula.setdefault(self.formula(task), []).append(task)
        return "; ".join(
            f"{', '.join(names)} = {formula}" for formula, names in by_formula.items()
        )

    def classes_of(self, names: Sequence[str], problem: str, label: str) -> list[str]:
        """Return a model's classes by this profile's names, in the model's order.

        `names` are those of its configuration, by index, and `problem` its
        ``problem_type``. Names that only count are taken by index. Raises `ModelError`
        where the two contradict each other.
        """
        if len(names) != len(self.classes):
            raise ModelError(
                f"model {label!r} has {_count(len(names))}, and its profile names "
                f"{len(self.classes)}: {', '.join(self.classes)}"
            )
        self._check_problem(problem, label)
        # LABEL_0 and the like name nothing: their place alone can tell.
        if _only_count(names):
            if self.named_classes:
                raise ModelError(
                    f"model {label!r}: its classes are {', '.join(names)} in "
                    "config.json, and models of this kind number them differently; a "
                    "profile of your own with the classes in this model's order would "
                    "tell"
                )
            return list(self.classes)
        known = {fold(name): name for name in self.classes}
        for i, name in enumerate(names):
            if fold(name) not in known:
                raise ModelError(
                    f"model {label!r}: class {i} is {name!r} in config.json, which its "
                    f"profile does not name{did_you_mean(name, self.classes)}; it "
                    f"names {', '.join(self.classes)}"
                )
        classes = [known[fold(name)] for name in names]
        if len(set(classes)) < len(classes):
            raise ModelError(
                f"model {label!r}: two of its classes {', '.join(names)} are one and "
                "the same to its profile"
            )
        return classes

    def _check_problem(self, problem: str, label: str) -> None:
        expected = (
            "single_label_classification"
            if self.link == "softmax"
            else "multi_label_classification"
        )
        if problem not in ("", expected):
            raise ModelError(
                f"model {label!r}: problem_type in config.json is {problem!r}, and its "
                f"profile says link: {self.link}, which is for {expected}"
            )


def _only_count(names: Sequence[str]) -> bool:
    """Tell whether names number the classes from 0 or 1 on, in their order."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    counts = range(len(names))
    return numbers in (list(counts), [i + 1 for i in counts])


def fold(name: str) -> str:
    """Return a class name as it is compared: letters and digits, lower case."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def load_profile(reference: str) -> tuple[str, EncoderProfile]:
    """Return a profile that a user names, with its name; raises `OptionError`."""
    file = read_profile(reference, FOLDER)
    where = f"profile {file.where}"
    return file.name, parse_section(EncoderProfile, dict(file.content), where)


def shipped_profiles() -> dict[str, EncoderProfile]:
    """Return the profiles of this plugin, by name."""
    return dict(map(load_profile, profile_names(FOLDER)))


def matching_profiles(
    model_names: Sequence[str], architectures: Sequence[str], classes: Sequence[str]
) -> dict[str, EncoderProfile]:
    """Return the profiles that are for a model: by its name, else by its classes."""
    profiles = shipped_profiles()
    by_name = {
        name: profile
        for name, profile in profiles.items()
        if any(
            _fits_pattern(model, pattern)
            for model in model_names
            for pattern in profile.match.models
        )
        and (
            not profile.match.architectures
            or set(architectures) & set(profile.match.architectures)
        )
    }
    # A name says more than classes, which models of other families may share.
    if by_name:
        return by_name
    folded = sorted(map(fold, classes))
    return {
        name: profile
        for name, profile in profiles.items()
        if profile.match.class_names and sorted(map(fold, profile.classes)) == folded
    }


def guard_profiles() -> list[GuardProfile]:
    """Return what ``safebench list guards`` shows of each profile."""
    return [
        GuardProfile(
            name=name,
            summary=profile.about,
            command=f"-c bert_ensemble --set profile={name}",
            tasks=tuple(profile.tasks),
            answer=f"{profile.link}: {profile.formulas(profile.tasks)}",
            models=profile.match.models,
            verified=profile.verified,
        )
        for name, profile in shipped_profiles().items()
    ]


def _fits_pattern(model: str, pattern: str) -> bool:
    """Tell whether a model's name is a pattern's, or is below another owner."""
    model, pattern = model.casefold(), pattern.casefold()
    last = pattern.rpartition("/")[2]
    return fnmatchcase(model, pattern) or fnmatchcase(model.rpartition("/")[2], last)


def _probability(names: Sequence[str], link: str) -> str:
    if len(names) == 1:
        return f"P({names[0]})"
    joined = ", ".join(names)
    return f"P({joined})" if link == "softmax" else f"largest P of {joined}"


def _count(n: int) -> str:
    return "1 class" if n == 1 else f"{n} classes"
