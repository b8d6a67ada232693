"""How a model is read: by a profile, or by what its own files and the options say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench import Capabilities
from safebench.errors import ModelError, OptionError
from safebench.torch_utils import ModelFolder

from .calibration import META_KEY, stored_calibration
from .class_meaning import ClassMeaning, read_class_meaning, read_heads
from .location import find_ensemble
from .profile import DOCUMENT_TASK, EncoderProfile, load_profile, matching_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench_bert_ensemble.options import EnsembleOptions

    from .location import EnsembleLocation

AUTO, NO_PROFILE = "auto", "none"
_HUB_CACHE_PREFIX = "models--"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the outputs of a model mean, and how its texts are made.

    `tasks` has the polarity of the C classes for each task, the usual one first;
    `meaning.polarity` is that one's. `profile` is None where the model's own names
    tell. `note` is what whoever reads its numbers has to know, `calibration_note` why a
    model that was trained here carries no calibration.
    """

    meaning: ClassMeaning
    tasks: Mapping[str, tuple[int, ...]]
    profile: EncoderProfile | None = None
    profile_name: str = ""
    note: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    calibration_note: str = ""

    @property
    def pairs(self) -> bool:
        """Whether a response is read together with its prompt."""
        return self.profile is None or self.profile.input == "pair"

    @property
    def documents(self) -> bool:
        """Whether a response is held against documents."""
        return self.profile is not None and self.profile.input == "documents"

    @property
    def max_length(self) -> int:
        """Tokens of a window that the profile asks for; 0 for none."""
        return self.profile.max_length if self.profile else 0

    @property
    def pad_token(self) -> str:
        """The padding token that the profile asks for, or ""."""
        return self.profile.pad_token if self.profile else ""

    @property
    def categories(self) -> Mapping[str, str]:
        """Policy codes of those classes that are categories."""
        return self.profile.categories if self.profile else {}

    @property
    def meta(self) -> dict[str, Any]:
        """What strategies read beside link and classes."""
        several = {task: list(signs) for task, signs in self.tasks.items()}
        return (
            dict(self.meaning.meta)
            | ({"readings": several} if len(self.tasks) > 1 else {})
            | ({"categories": dict(self.categories)} if self.categories else {})
            # one chunk that bears a response out suffices
            | ({"window_rule": "least"} if self.documents else {})
            | ({META_KEY: dict(self.calibration)} if self.calibration else {})
        )

    @property
    def capabilities(self) -> Capabilities:
        """Tasks, policy and threshold of the model as it is read."""
        return Capabilities(
            tasks=frozenset(self.tasks),
            policy=(self.profile.policy or None) if self.profile else None,
            threshold=self.profile.threshold if self.profile else None,
            # The tasks of one turn are readings of the same logits.
            evidence_scope="turn" if len(self.tasks) > 1 else None,
            reads_documents=self.documents,
            note="; ".join(filter(None, (self.note, self.calibration_note))),
        )


def find_location(options: EnsembleOptions) -> EnsembleLocation:
    """Return where the model is: the user's, or else the one that a profile names.

    Raises `ModelError` for what is no model, and `OptionError` for what is no profile.
    """
    model = options.model
    if not model and options.profile not in (AUTO, NO_PROFILE):
        model = load_profile(options.profile)[1].model
    return find_ensemble(model, options.revision)


def find_reading(options: EnsembleOptions, location: EnsembleLocation) -> Reading:
    """Return how a model is read.

    Raises `OptionError` for options that contradict each other or do not suffice, and
    `ModelError` for a model that a profile does not fit, or that says nothing.
    """
    if options.profile not in (AUTO, NO_PROFILE):
        name, profile = load_profile(options.profile)
        return _read_by_profile(name, profile, options, location)
    note = ""
    if options.profile == AUTO and not _is_told(options) and not location.manifest:
        try:
            reading = _read_by_match(options, location)
        except ModelError as error:  # a model of this name, and another's head
            note = f"no profile is used: {error.message}"
        else:
            if reading is not None:
                return reading
    meaning = read_class_meaning(
        location.members,
        options.harmful,
        location.label,
        names=options.classes,
        link=options.link,
    )
    task = options.task or location.manifest.get("task", "prompt_harm")
    calibration = _calibration(options, location)
    given = {
        "classes": list(options.classes),
        "link": options.link,
        # Not in what it was before there was any: evidence keeps its place.
        META_KEY: calibration,
    }
    return Reading(
        meaning=meaning,
        tasks={task: meaning.polarity},
        note=note,
        record=meaning.record | {key: value for key, value in given.items() if value},
        calibration=calibration,
        calibration_note=""
        if calibration or not location.manifest
        else _not_calibrated(options, location),
    )


def _calibration(
    options: EnsembleOptions, location: EnsembleLocation
) -> dict[str, Any]:
    """Return the calibration of what is read, if it was fitted to that.

    Passes with dropout are other outputs than those it was fitted to, and so are
    classes that the user names anew.
    """
    if options.mc_dropout or options.harmful or options.classes or options.link:
        return {}
    names = tuple(folder.name for folder in location.members)
    pools = stored_calibration(location.manifest, names)
    return {name: content for name, content in pools.items() if "slope" in content}


def _not_calibrated(options: EnsembleOptions, location: EnsembleLocation) -> str:
    if options.mc_dropout:
        return "passes with dropout have no calibration: probabilities are theirs"
    if META_KEY not in location.manifest:
        return (
            "trained before calibrations were stored: probabilities are the members' "
            "own, and training it again calibrates them"
        )
    return (
        "its validation rows allowed no calibration: probabilities are the members' own"
    )


def _is_told(options: EnsembleOptions) -> bool:
    """Tell whether the user says what the classes mean."""
    return bool(options.harmful or options.classes or options.link)


def _read_by_match(
    options: EnsembleOptions, location: EnsembleLocation
) -> Reading | None:
    """Return the reading by the one profile that is for a model, None without one."""
    config = ModelFolder(location.members[0], location.label).read_json("config.json")
    architectures = config.get("architectures")
    classes, _ = read_heads(location.members, location.label)
    profiles = matching_profiles(
        model_names(location),
        architectures if isinstance(architectures, list) else [],
        classes,
    )
    if len(profiles) > 1:
        raise OptionError(
            f"model {location.label!r}: several profiles are for it, say "
            f"profile={' or profile='.join(profiles)} (or profile={NO_PROFILE})"
        )
    for name, profile in profiles.items():
        reading = _read_by_profile(name, profile, options, location)
        known = [task for task in reading.tasks if task in profile.tasks]
        note = (
            f"{location.label} is read by the profile {name}"
            f"{': ' if known else ''}{profile.formulas(known)}"
        )
        return replace(reading, note="; ".join(filter(None, (note, reading.note))))
    return None


def model_names(location: EnsembleLocation) -> list[str]:
    """Return the names under which a model may be known: hub id, folder.

    Not the origin that config.json may name: fine-tuned models keep that of their base,
    and number other classes.
    """
    # A snapshot in the hub's cache: models--OWNER--NAME/snapshots/COMMIT.
    cached = [
        part.removeprefix(_HUB_CACHE_PREFIX).replace("--", "/")
        for part in Path(location.root).absolute().parts
        if part.startswith(_HUB_CACHE_PREFIX)
    ]
    return [location.label, location.root.resolve().name, *cached]


def _read_by_profile(
    name: str,
    profile: EncoderProfile,
    options: EnsembleOptions,
    location: EnsembleLocation,
) -> Reading:
    config_names, problem = read_heads(location.members, location.label)
    classes = profile.classes_of(config_names, problem, location.label)
    tasks = {task: profile.signs(task, classes) for task in profile.tasks}
    note = ""
    if options.task and options.task not in tasks:
        if DOCUMENT_TASK in (options.task, *tasks):
            raise OptionError(
                f"profile {name} answers {', '.join(tasks)}, and not {options.task}: "
                f"{DOCUMENT_TASK} is read from documents, the others are not"
            )
        if len(set(tasks.values())) > 1:
            raise OptionError(
                f"profile {name} answers {', '.join(tasks)}, each by other classes: "
                f"which of them shall answer {options.task}? Say so in a profile of "
                "your own"
            )
        first, *_ = tasks
        tasks = {options.task: tasks[first]}
        note = f"the profile {name} is about {first}, and read as {options.task}"
    elif options.task:
        tasks = {options.task: tasks[options.task]}
    if profile.input == "documents":
        if options.truncation != "windows":
            raise OptionError(
                f"truncation={options.truncation}: profile {name} reads documents in "
                "windows, so that nothing that bears a response out is lost; "
                "max_windows=1 reads the first alone"
            )
        rule = "documents are read in chunks, the one that speaks for a response most"
        note = "; ".join(filter(None, (note, f"{rule} counts")))
    elif profile.max_length and options.truncation == "windows":
        longer = (
            "" if options.max_length else f" of more than {profile.max_length} tokens"
        )
        windows = f"texts{longer or ' longer than one'} are read in windows"
        note = "; ".join(filter(None, (note, windows)))
    meaning = ClassMeaning(tuple(classes), next(iter(tasks.values())), profile.link)
    return Reading(
        meaning=meaning,
        tasks=tasks,
        profile=profile,
        profile_name=name,
        note=note,
        # What changes evidence: not the name, the threshold, or for whom it is.
        record={
            "reading": {
                "classes": classes,
                "link": profile.link,
                "tasks": {task: list(signs) for task, signs in tasks.items()},
                "categories": dict(profile.categories),
                "input": profile.input,
                "max_length": profile.max_length,
                "pad_token": profile.pad_token,
            }
            | (
                {"joint": profile.joint, "document_tokens": profile.document_tokens}
                if profile.input == "documents"
                else {}
            )
        },
    )
