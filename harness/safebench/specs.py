"""What a plugin declares: small, inert records that name code to load later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from .errors import ComponentError
from .forwarding import old_fields
from .lazy import import_object

if TYPE_CHECKING:
    from safebench.evidence.scope import EvidenceScope
    from safebench.recipes import Recipe

    from .evidence import Evidence

    Kinds = frozenset[type[Evidence]] | Mapping[type[Evidence], frozenset[str]]


# what a strategy may say of a sample, and what a metric may ask for
EMITS = ("score", "probability", "categories", "uncertainty", "bounds")
NEEDS = (
    *EMITS,
    *("category_scores", "category_bounds", "uncertainty_bounds"),
    *("decision", "pairs", "severity", "votes"),
)
FITTED_ON = ("labels", "scores", "probe")  # what a calibrator may learn from
NO_THRESHOLD = "no threshold: "  # start of `threshold_from` of a rule of its own
NO_INTERVAL = "none"  # of `MetricSpec.interval`


class Origin(Protocol):
    """The plugin that a component came with."""

    @property
    def name(self) -> str:
        """The entry point's name."""

    @property
    def described(self) -> str:
        """For messages: name, distribution and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A name for the command line and the code behind it.

    `load` and `options` are ``module:attribute`` and imported only when used.
    `options` names a dataclass: its fields are the option keys that the component
    takes, with their defaults and types. `origin` is noted when a plugin is loaded.
    """

    kind: ClassVar[str]

    name: str
    load: str
    summary: str = ""
    options: str = ""
    aliases: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def described(self) -> str:
        """What the component is, and which plugin it came with, for messages."""
        origin = f" of {self.origin.described}" if self.origin else ""
        return f"{self.kind} {self.name!r}{origin}"

    def code(self) -> Any:
        """Import the code behind the name, now and not before."""
        return self.import_object(self.load)

    def import_object(self, target: str) -> Any:
        """Import one of the ``module:attribute`` that the component names.

        Raises `ComponentError`, which names the plugin, if that fails.
        """
        try:
            return import_object(target)
        except ComponentError as error:
            message = f"{error.message} ({self.described})"
            raise ComponentError(message) from error.__cause__


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a classifier can do, where that depends on its options.

    `tasks` are those that it answers, `policy` the id of the taxonomy of its
    categories (None: none). `threshold` is where it decides, as its authors say: the
    default of strategies whose score is a probability (None: the strategy's own).
    `evidence_scope` is that of the spec, where the options change it (None: they do
    not), and so is `reads_documents`. `note` is what whoever reads a run has to know
    of how these options were understood. `families` are further names of the model: its
    profile, the models that it was made from. A set that one of them was trained on
    (`DatasetSpec.contaminates`) is flagged. `one_process` says why no executor may have
    several processes record ("" if they may): a service with its own concurrency and
    its own count of requests. `lacks` are the fields that evidence does not have with
    these options, by kind; a kind without fields is not recorded at all.
    `lacks_because` says why, behind "since". `turned_off` are kinds that other options
    would record in their place, each with the option that does ("logprobs=no"); ``all``
    leaves out what needs them without a word. `default_strategy` is that of the spec
    where these options record what it cannot read ("": as the spec says). `unreadable`
    are strategies, by name, that would find nothing in the evidence of these options,
    each with the reason.
    """

    tasks: frozenset[str]
    policy: str | None = None
    threshold: float | None = None
    evidence_scope: EvidenceScope | None = None
    reads_documents: bool | None = None
    note: str = ""
    families: tuple[str, ...] = ()
    one_process: str = ""
    lacks: Mapping[type[Evidence], frozenset[str]] = field(default_factory=dict)
    lacks_because: str = ""
    turned_off: Mapping[type[Evidence], str] = field(default_factory=dict)
    default_strategy: str = ""
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def unrecorded(self) -> frozenset[type[Evidence]]:
        """The kinds of the spec of which nothing is recorded with these options."""
        whole = {kind for kind, fields in self.lacks.items() if not fields}
        return frozenset(whole | self.turned_off.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardProfile:
    """A guard that a classifier knows by name, for ``safebench list guards``.

    `command` is how it is run; `models` are hub ids, or patterns of them. `answer`
    says in words what is read, `prompt` where the text of the prompt comes from (empty
    for a guard without one), `verified` what was compared with what.
    """

    name: str
    summary: str
    command: str
    tasks: tuple[str, ...]
    answer: str
    models: tuple[str, ...] = ()
    prompt: str = ""
    verified: str = ""


@old_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSpec(Component):
    """A guard. `load` is a `safebench.classifiers.Classifier` subclass.

    `tasks` are those of `safebench.records.TASKS` that it answers. `provides` is
    recorded always, `on_request` only if a chosen strategy needs it; both may be
    mappings from an evidence class to the optional fields that are filled.
    `identity` ("module:function" of the options; must import nothing heavy) returns
    JSON that tells two models apart: hash of the weights, template, record options.
    Its `noted_files` (hash by name), if any, are stored beside evidence and not in its
    key: where they differ, tables say so.
    `evidence_scope` says what evidence depends on: ``target`` (the judged turn and the
    task), ``turn`` (one answer serves every task of the judged turn) or
    ``conversation`` (one answer serves every task of prompt and response);
    `safebench.evidence.scope` has the details. `reads_documents`: it holds a response
    against `Sample.documents`; rows that have some are not for the others. `doctor`
    ("module:function") yields checks of a loaded model.
    `capabilities` ("module:function" of the options; must import nothing heavy) returns
    the `Capabilities` that they give; `tasks` is then what any options could give.
    `profiles` ("module:function") returns the `GuardProfile` of each guard that the
    classifier knows by name.
    `settle` ("module:function" of the options and of what is stored) asks a service
    what only it can say, before anything is recorded: it returns the options with that
    filled in, and facts that stored evidence must have to be read (an empty mapping:
    any). What is stored is a list, the oldest first, of mappings with ``identity``,
    ``facts`` and ``state``.
    `profile_doctor` ("module:function" of the options) yields checks of a profile
    without its model.
    """

    kind: ClassVar[str] = "classifier"

    provides: Kinds
    tasks: frozenset[str] = frozenset({"prompt_harm"})
    policy: str | None = None
    on_request: Kinds = frozenset()
    default_strategy: str = "score"
    identity: str = ""
    evidence_scope: EvidenceScope = "target"
    reads_documents: bool = False
    doctor: str = ""
    capabilities: str = ""
    profiles: str = ""
    profile_doctor: str = ""
    settle: str = ""


@old_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySpec(Component):
    """A reading of evidence. `load` is ``judge(evidence, context) -> Judgements``.

    `emits` is a subset of score, probability, categories, uncertainty, bounds; without
    "probability" the score only ranks. `record` names options that are really record
    options of the classifier, with how the requests of several strategies are merged:
    ``min`` or ``max``; `recorder_option_names` renames them on their way to the
    classifier. `ignores` names options that are accepted and noted, with the reason.
    `decision_fallback` names the strategy whose decisions stand in where this one has
    an uncertainty alone, so that it can be judged by the errors that it finds.
    `replacements` maps an option ("compat=original") to the name of the strategy that
    takes over where it is given. `joins_questions`: it gets the answers to several
    questions about a sample together, and not one by one; ``all`` leaves it out, since
    most guards are asked one. `needs_categories`: it is not for classifiers without a
    policy. `oracle_tuner` ("module:function") chooses options
    with the labels of the scored samples, which shows how much such a choice flatters;
    `threshold_from` must say so. A strategy that decides by a rule of its own says
    which behind ``no threshold: ``. `per_sample`: what is said of a sample depends on
    its own evidence alone, and notes on all of them, or as "3 of 40" on the samples at
    hand; large sets are then judged part by part.
    """

    kind: ClassVar[str] = "strategy"

    needs: Kinds
    emits: frozenset[str] = frozenset({"score"})
    probes: tuple[str, ...] = ("main",)
    threshold: float = 0.5
    record: Mapping[str, Literal["min", "max"]] = field(default_factory=dict)
    ignores: Mapping[str, str] = field(default_factory=dict)
    decision_fallback: str = ""
    recorder_option_names: Mapping[str, str] = field(default_factory=dict)
    replacements: Mapping[str, str] = field(default_factory=dict)
    oracle_tuner: str = ""
    threshold_from: str = "fixed"
    joins_questions: bool = False
    needs_categories: bool = False
    per_sample: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCard:
    """What is known of a public set, for whoever chooses one or reads its numbers.

    `columns` says what each column that is read means, `taxonomy` whose categories it
    has (a policy, or words), `untold` what a number on it does not say. `rows` is how
    many rows each split has before any is left out; a split that is not named has a
    number that is not known. `sources` are where columns, numbers and licences were
    read: ``ORG/NAME:PATH`` of a repository, or a page. One that ends in "(columns not
    checked)" is named for numbers and licence alone. `checked` says against what: data,
    or the card alone.
    A gated set is read by whoever accepted its terms.
    """

    columns: Mapping[str, str]
    sources: tuple[str, ...]
    untold: str
    taxonomy: str = "none"
    rows: Mapping[str, int] = field(default_factory=dict)
    gated: bool = False
    checked: Literal["data", "card"] = "card"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec(Component):
    """A labelled set for one task. `load` is ``read(request) -> Iterable[Example]``.

    `splits` lists what can be asked for, the evaluation split first. `contaminates`
    names model families that were trained on it. `card` is what is known of a public
    set; `recipe` says how ``safebench.datasets.declared:read_declared`` reads it.
    """

    kind: ClassVar[str] = "dataset"

    task: str = "prompt_harm"
    policy: str | None = None
    splits: tuple[str, ...] = ()
    config: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    licence: str = "unknown"
    contaminates: frozenset[str] = frozenset()
    card: DatasetCard | None = None
    recipe: Recipe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec(Component):
    """A number about judgements. `load` is ``metric(outcome) -> MetricValue``.

    `needs` is a subset of score, probability, decision, categories (those named),
    category_scores, uncertainty, bounds, category_bounds, uncertainty_bounds, pairs,
    severity, votes. `interval` ("module:attribute") is the metric's
    `safebench.metrics.MetricDefinition`, by which all resamples are computed at once.
    Without one the metric is called on each resample, which is slower; ``none`` leaves
    it without an interval.
    """

    kind: ClassVar[str] = "metric"

    higher_is_better: bool | None
    needs: frozenset[str] = frozenset({"score"})
    interval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorSpec(Component):
    """A map from scores to probabilities: a `safebench.calibration.Calibrator`.

    `fitted_on` says what it learns from: ``labels`` of the calibration part, ``scores``
    (of all samples, without their labels: transductive), or ``probe`` (the guard's
    scores of prompts without content, which a run then records). It is fitted if at
    least `min_groups` independent groups of each class are there. With
    `needs_probability` it takes probabilities alone. One that is not `monotone` may
    fall where scores rise: bounds of scores cannot be carried over.
    """

    kind: ClassVar[str] = "calibrator"

    fitted_on: Literal["labels", "scores", "probe"] = "labels"
    needs_probability: bool = False
    monotone: bool = True
    min_groups: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSpec(Component):
    """An output format of the leaderboard. `load` is ``render(table, view) -> str``.

    Or bytes, for a format that is no text.
    """

    kind: ClassVar[str] = "reporter"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSpec(Component):
    """Something that learns. `load` is ``fit(training: Training) -> Trained``.

    The fields of `options` (a frozen dataclass in a module without heavy imports) are
    the flags of ``safebench train NAME``; ``field(metadata={"help": ...})`` explains
    one. `dataset` is read unless the user names others, `sample` the most rows taken
    of it (None: all), `task` what the rows must be labelled for; `pairs` that they
    come as pairs of a safer and a less safe response, and `singles` that beside them
    responses labelled alone are learnt from (``--singles``). `check`
    ("module:function" of the options and the mapping of ``--set``) raises `OptionError`
    for what the training would refuse later; it is called before data are read.
    """

    kind: ClassVar[str] = "trainer"

    dataset: str
    sample: int | None = None
    task: str = "prompt_harm"
    pairs: bool = False
    singles: bool = False
    check: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSpec(Component):
    """What a training leaves, for its model card and for ``safebench push``.

    `name` is what its manifest calls the `trainer`. `load` is ``describe(folder,
    manifest) -> safebench.training.ArtifactDescription``; it reads files and must
    import nothing heavy.
    """

    kind: ClassVar[str] = "artifact"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpec(Component):
    """Where evidence is recorded. `load` is a `safebench.executors.Executor` subclass.

    The fields of `options` are what ``--executor NAME,key=value`` takes; `workers`,
    `address` and `gpus_per_worker` have flags of their own.
    """

    kind: ClassVar[str] = "executor"


def fields_by_kind(kinds: Kinds) -> dict[type[Evidence], frozenset[str]]:
    """Return evidence classes with the optional fields that are needed or provided."""
    if isinstance(kinds, Mapping):
        return dict(kinds)
    return dict.fromkeys(kinds, frozenset())
