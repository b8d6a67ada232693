"""The columnar containers of evidence: one of each kind, bundled for a strategy."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from safebench.forwarding import old_members, old_overrides
from safebench.lazy import import_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.typing import Array


T = TypeVar("T")
_KIND_ID = re.compile(r"[\w.:<>-]+\Z")

DTYPES = {
    "f64": "float64",
    "f32": "float32",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u64": "uint64",
    "u8": "uint8",
    "bool": "bool",
}
E = TypeVar("E", bound="Evidence")


def _check_kind_id(kind: type[Evidence]) -> None:
    """Raise `TypeError` for an id that is none, or that is kept for safebench.

    Stored evidence of the core would be read as the other class, and the other way.
    """
    name = f"evidence class {kind.__module__}.{kind.__qualname__}: kind_id"
    if not isinstance(kind.kind_id, str) or not _KIND_ID.match(kind.kind_id):
        raise TypeError(f"{name} {kind.kind_id!r} is no name, such as package.Class")
    of_core = kind.__module__.partition(".")[0] == "safebench"
    if kind.kind_id.startswith("safebench.") and not of_core:
        raise TypeError(
            f"{name} {kind.kind_id!r}: ids that start with safebench. are the core's; "
            "without kind_id it is stored under the name of the class"
        )


@old_members
class Evidence:
    """What a classifier recorded about B samples, as arrays.

    Subclass it, state `SCHEMA`, and a new classifier can talk to a new strategy.
    `SCHEMA` maps a field to (dtype, dims): dims are letters joined by commas. A field
    whose first dim is ``B`` has one row a sample; any other first letter is ragged:
    ``offsets[letter]`` (B + 1,) int64 says which rows belong to which sample.
    `OPTIONAL` fields may be missing. `meta` holds JSON values that are the same for
    every sample of a store; its ``notes`` are lines that stand below every table of
    numbers from this evidence. All arrays are read-only: strategies read the same ones.
    `derived_from` names functions ("module:function") that build this class from
    another one; `derived_fields` maps optional fields to those of the other class
    that they are built from. `unread` names the function ("module:function") that
    says which samples hold no verdict: it gets the evidence, the text that was
    written about each sample (None: unknown) and the probability below which a
    verdict counts as not read, and returns a reason or None for each sample.
    `unanswered` names one that says where the verdict leaves out a task: it gets
    the evidence, the task and the same probability.
    `kind_id` is the name it is stored under:
    where the class is defined, unless the class says it itself.
    """

    SCHEMA: ClassVar[Mapping[str, tuple[str, str]]] = {}
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    derived_from: ClassVar[Mapping[type[Evidence], str]] = {}
    derived_fields: ClassVar[Mapping[str, str]] = {}
    unread: ClassVar[str] = ""
    unanswered: ClassVar[str] = ""
    kind_id: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind_id" not in vars(cls):  # a subclass is another kind than its parent
            cls.kind_id = f"{cls.__module__}.{cls.__qualname__}"
        _check_kind_id(cls)
        old_overrides(cls, "Evidence")

    def __init__(
        self,
        arrays: Mapping[str, Any],
        *,
        offsets: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        size: int | None = None,
    ) -> None:
        # Here and below, and not at the top: plugins declare themselves by evidence
        # classes, and `list-plugins` must start without numpy.
        from .arrays import convert, read_only

        self.meta: dict[str, Any] = dict(meta or {})
        kind = type(self).__name__
        self.offsets: dict[str, Array] = {
            dim: read_only(convert(rows, "int64", f"{kind}, offsets of {dim!r}"))
            for dim, rows in (offsets or {}).items()
        }
        self.arrays: dict[str, Array] = {
            name: read_only(convert(arrays[name], DTYPES[dtype], f"{kind}.{name}"))
            for name, (dtype, _) in self.SCHEMA.items()
            if name in arrays
        }
        # Checked when made, and not when read: an error then names who made it.
        self._check_names(arrays)
        self.size = self._infer_size() if size is None else size
        self._cached: dict[Callable[[Any], Any], Any] = {}
        self._check_shapes()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, field: str) -> Array:
        return self.arrays[field]

    def __contains__(self, field: str) -> bool:
        return field in self.arrays

    @property
    def decisions_only_at(self) -> float | None:
        """The only threshold at which the evidence supports decisions, or None for all.

        Recording may stop as soon as decisions at one threshold are certain.
        """
        return None

    @property
    def questions(self) -> tuple[str, ...]:
        """The several questions that were asked about each sample; empty for one.

        Such as one for each category of a policy, by whose codes they are named.
        """
        return ()

    @property
    def question_rule(self) -> str:
        """How the answers to several questions make one: "mean", or "".

        Empty: as the option `combine` of a strategy says.
        """
        return ""

    def unfold(self) -> Self:
        """Return the answers to all questions as samples of their own, B times Q.

        Those about one sample follow one another, in the order of the questions.
        """
        return self

    def impossible(self) -> str | None:
        """Return which values cannot be what they are said to be, None for none.

        Such as a probability above one. Classes that know say so; it is asked about
        what was recorded, samples with an error left out.
        """
        return None

    def cached(self, make: Callable[[Self], T]) -> T:
        """Return ``make(self)``, made once and kept as long as this evidence.

        So strategies that read the same batch share what they derive from it; its
        arrays are read-only, too.
        """
        from .arrays import freeze

        if make not in self._cached:
            self._cached[make] = make(self)
        value: T = self._cached[make]
        freeze(value)  # each time: some attributes are computed when they are needed
        return value

    def _check_names(self, arrays: Mapping[str, Any]) -> None:
        unknown = sorted(set(arrays) - set(self.SCHEMA))
        missing = sorted(set(self.SCHEMA) - set(arrays) - self.OPTIONAL)
        if unknown or missing:
            raise ValueError(
                f"{type(self).__name__}: missing fields {missing}, unknown {unknown}"
            )

    def _infer_size(self) -> int:
        for rows in self.offsets.values():
            return len(rows) - 1
        for name, array in self.arrays.items():
            if self.leading_dim(name) == "B":
                return len(array)
        return 0

    def _check_shapes(self) -> None:
        for name, array in self.arrays.items():
            dims = self.SCHEMA[name][1].split(",")
            expected = self.size if dims[0] == "B" else int(self.offsets[dims[0]][-1])
            if array.ndim != len(dims) or len(array) != expected:
                raise ValueError(
                    f"{type(self).__name__}.{name}: shape {array.shape}, "
                    f"expected ({expected}, ...) with dims {dims}"
                )
        for dim, rows in self.offsets.items():
            if (
                len(rows) != self.size + 1
                or rows[0] != 0
                or (rows[1:] < rows[:-1]).any()
            ):
                raise ValueError(f"{type(self).__name__}: bad offsets of {dim!r}")

    @classmethod
    def leading_dim(cls, field: str) -> str:
        """Return the letter of a field's first dimension."""
        return cls.SCHEMA[field][1].partition(",")[0]

    def select(self, rows: Sequence[int] | Array) -> Self:
        """Return the samples `rows` (indices into B) in that order; they may repeat."""
        import numpy as np

        index = np.asarray(rows, dtype=np.int64)
        spans = {
            dim: _ragged_rows(offsets, index) for dim, offsets in self.offsets.items()
        }
        spans["B"] = (index, np.empty(0, dtype=np.int64))
        return type(self)(
            {
                name: a[spans[self.leading_dim(name)][0]]
                for name, a in self.arrays.items()
            },
            offsets={dim: spans[dim][1] for dim in self.offsets},
            meta=self.meta,
            size=len(index),
        )

    @classmethod
    def concat(cls, batches: Sequence[Self]) -> Self:
        """Join batches of equal `meta` in order; raises ValueError if there is none."""
        import numpy as np

        if not batches:
            raise ValueError(f"no {cls.__name__} to join")
        # Arrays are read-only, so that one batch may be shared.
        if len(batches) == 1:
            return batches[0]
        return cls(
            {
                name: np.concatenate([batch[name] for batch in batches])
                for name in batches[0].arrays
            },
            offsets={
                dim: _join_offsets([batch.offsets[dim] for batch in batches])
                for dim in batches[0].offsets
            },
            meta=cls.join_meta([batch.meta for batch in batches]),
            size=sum(map(len, batches)),
        )

    @classmethod
    def join_meta(cls, metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the meta of joined batches; raises ValueError unless all are equal.

        Notes may differ, since early versions wrote none: each is kept once.
        """
        compared = [{k: v for k, v in m.items() if k != "notes"} for m in metas]
        if any(meta != compared[0] for meta in compared):
            raise ValueError(f"{cls.__name__}: batches recorded with different meta")
        notes = dict.fromkeys(note for meta in metas for note in meta.get("notes", ()))
        return compared[0] | ({"notes": list(notes)} if notes else {})


def _ragged_rows(offsets: Array, index: Array) -> tuple[Array, Array]:
    """Return the ragged rows of the samples `index`, and their new offsets.

    Without a loop: the rows of all samples are numbered on, and each number is moved
    to where its sample starts.
    """
    import numpy as np

    lengths = offsets[index + 1] - offsets[index]
    new_offsets = np.concatenate(([0], np.cumsum(lengths)))
    within = np.arange(new_offsets[-1]) - np.repeat(new_offsets[:-1], lengths)
    return np.repeat(offsets[index], lengths) + within, new_offsets


def _join_offsets(offsets: Sequence[Array]) -> Array:
    import numpy as np

    lengths = np.concatenate([rows[1:] - rows[:-1] for rows in offsets])
    return np.concatenate(([0], np.cumsum(lengths)))


class EvidenceBundle:
    """The evidence that a strategy reads: ``bundle[VerdictTree]``.

    A kind that was not recorded is derived from one that was (`derived_from`), once.
    """

    def __init__(self, recorded: Mapping[type[Evidence], Evidence]) -> None:
        if not recorded:
            raise ValueError("a bundle needs evidence of at least one kind")
        self._recorded: dict[type[Evidence], Evidence] = dict(recorded)

    @property
    def _kinds(self) -> dict[type[Evidence], Evidence]:
        """What is at hand; of a large set it may be read only now."""
        return self._recorded

    def __len__(self) -> int:
        return len(next(iter(self._kinds.values())))

    def __getitem__(self, kind: type[E]) -> E:
        if kind not in self._kinds:
            # Kept: several strategies may read what takes long to derive.
            self._kinds[kind] = self._derive(kind)
        evidence = self._kinds[kind]
        assert isinstance(evidence, kind), f"{type(evidence).__name__} stored as {kind}"
        return evidence

    @property
    def questions(self) -> tuple[str, ...]:
        """The several questions that were asked about each sample; empty for one."""
        of_kinds = (batch.questions for batch in self._kinds.values())
        return next((questions for questions in of_kinds if questions), ())

    @property
    def question_rule(self) -> str:
        """How the answers to several questions make one (`Evidence.question_rule`)."""
        rules = (batch.question_rule for batch in self._kinds.values())
        return next((rule for rule in rules if rule), "")

    @cached_property
    def unfolded(self) -> EvidenceBundle:
        """The answers to all questions as samples of their own (`Evidence.unfold`)."""
        return EvidenceBundle({k: batch.unfold() for k, batch in self._kinds.items()})

    @property
    def decisions_only_at(self) -> float | None:
        """The only threshold at which the evidence supports decisions, or None."""
        limits = (batch.decisions_only_at for batch in self._kinds.values())
        return next((limit for limit in limits if limit is not None), None)

    def unread(self, written: Sequence[str | None], floor: float) -> list[str | None]:
        """Say of each sample why it holds no verdict, None where it does, (B,).

        `written` (B,) are the texts that the guard wrote, where they are known; `floor`
        is the probability below which a verdict counts as not read.
        """
        reasons: list[str | None] = [None] * len(self)
        for kind, batch in self._kinds.items():
            if kind.unread:
                other = import_object(kind.unread)(batch, written, floor)
                reasons = [a or b for a, b in zip(reasons, other, strict=True)]
        return reasons

    def unanswered(self, task: str, floor: float) -> list[str | None]:
        """Say of each sample why its verdict does not answer `task`, None if so, (B,).

        `floor` is the probability below which an answer counts as not given.
        """
        reasons: list[str | None] = [None] * len(self)
        for kind, batch in self._kinds.items():
            if kind.unanswered:
                other = import_object(kind.unanswered)(batch, task, floor)
                reasons = [a or b for a, b in zip(reasons, other, strict=True)]
        return reasons

    def items(self) -> Iterable[tuple[type[Evidence], Evidence]]:
        """Return the kinds at hand, recorded or derived, with their evidence."""
        return self._kinds.items()

    def _derive(self, kind: type[E]) -> Evidence:
        for source, function in kind.derived_from.items():
            # A source may itself be derived, so this goes on through `self[source]`.
            if source in self._kinds or source.derived_from:
                derived: Evidence = import_object(function)(self[source])
                return derived
        recorded = ", ".join(k.__name__ for k in self._kinds)
        raise KeyError(f"{kind.__name__} is not recorded, only {recorded}")
