"""The columnar container that every kind of evidence shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

T = TypeVar("T")

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


class Evidence:
    """What a classifier recorded about B samples, as arrays.

    Subclass it, state `SCHEMA`, and a new classifier can talk to a new strategy.
    `SCHEMA` maps a field to (dtype, dims): dims are letters joined by commas. A field
    whose first dim is ``B`` has one row a sample; any other first letter is ragged:
    ``offsets[letter]`` (B + 1,) int64 says which rows belong to which sample.
    `OPTIONAL` fields may be missing. `meta` holds JSON values that are the same for
    every sample of a store. `derived_from` names functions ("module:function") that
    build this class from another one. `kind_id` is the name that it is stored under:
    where the class is defined, unless the class says it itself.
    """

    SCHEMA: ClassVar[Mapping[str, tuple[str, str]]] = {}
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    derived_from: ClassVar[Mapping[type[Evidence], str]] = {}
    kind_id: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind_id" not in vars(cls):  # a subclass is another kind than its parent
            cls.kind_id = f"{cls.__module__}.{cls.__qualname__}"

    def __init__(
        self,
        arrays: Mapping[str, Any],
        *,
        offsets: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        size: int | None = None,
    ) -> None:
        import numpy as np

        self.meta: dict[str, Any] = dict(meta or {})
        self.offsets: dict[str, Array] = {
            dim: np.asarray(rows, dtype=np.int64)
            for dim, rows in (offsets or {}).items()
        }
        self.arrays: dict[str, Array] = {
            name: np.asarray(arrays[name], dtype=DTYPES[dtype])
            for name, (dtype, _) in self.SCHEMA.items()
            if name in arrays
        }
        self._refuse_strangers(arrays)
        self.size = self._measure() if size is None else size
        self._made: dict[Callable[[Any], Any], Any] = {}
        self._check()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, field: str) -> Array:
        return self.arrays[field]

    def __contains__(self, field: str) -> bool:
        return field in self.arrays

    @property
    def decisions_only_at(self) -> float | None:
        """The one threshold that evidence which was cut short decides, or None."""
        return None

    def once(self, make: Callable[[Self], T]) -> T:
        """Return ``make(self)``, made once and kept as long as this evidence.

        So strategies that read one batch share what they work out about it.
        """
        if make not in self._made:
            self._made[make] = make(self)
        found: T = self._made[make]
        return found

    def _refuse_strangers(self, arrays: Mapping[str, Any]) -> None:
        strangers = sorted(set(arrays) - set(self.SCHEMA))
        missing = sorted(set(self.SCHEMA) - set(arrays) - self.OPTIONAL)
        if strangers or missing:
            raise ValueError(
                f"{type(self).__name__}: missing fields {missing}, unknown {strangers}"
            )

    def _measure(self) -> int:
        for rows in self.offsets.values():
            return len(rows) - 1
        for name, array in self.arrays.items():
            if self.lead(name) == "B":
                return len(array)
        return 0

    def _check(self) -> None:
        for name, array in self.arrays.items():
            dims = self.SCHEMA[name][1].split(",")
            want = self.size if dims[0] == "B" else int(self.offsets[dims[0]][-1])
            if array.ndim != len(dims) or len(array) != want:
                raise ValueError(
                    f"{type(self).__name__}.{name}: shape {array.shape}, "
                    f"expected ({want}, ...) with dims {dims}"
                )
        for dim, rows in self.offsets.items():
            if (
                len(rows) != self.size + 1
                or rows[0] != 0
                or (rows[1:] < rows[:-1]).any()
            ):
                raise ValueError(f"{type(self).__name__}: bad offsets of {dim!r}")

    @classmethod
    def lead(cls, field: str) -> str:
        """Return the letter of a field's first dimension."""
        return cls.SCHEMA[field][1].partition(",")[0]

    def take(self, rows: Sequence[int] | Array) -> Self:
        """Return the samples `rows` (indices into B), in that order; may repeat."""
        import numpy as np

        index = np.asarray(rows, dtype=np.int64)
        spans = {dim: _spans(offsets, index) for dim, offsets in self.offsets.items()}
        spans["B"] = (index, np.empty(0, dtype=np.int64))
        return type(self)(
            {name: a[spans[self.lead(name)][0]] for name, a in self.arrays.items()},
            offsets={dim: spans[dim][1] for dim in self.offsets},
            meta=self.meta,
            size=len(index),
        )

    @classmethod
    def concat(cls, batches: Sequence[Self]) -> Self:
        """Join batches with equal `meta`, keeping order; raises ValueError if none."""
        import numpy as np

        if not batches:
            raise ValueError(f"no {cls.__name__} to join")
        if len(batches) == 1:
            return batches[0]
        return cls(
            {
                name: np.concatenate([batch[name] for batch in batches])
                for name in batches[0].arrays
            },
            offsets={
                dim: _joined([batch.offsets[dim] for batch in batches])
                for dim in batches[0].offsets
            },
            meta=cls.join_meta([batch.meta for batch in batches]),
            size=sum(map(len, batches)),
        )

    @classmethod
    def join_meta(cls, metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the meta of joined batches; it must be the same in all of them."""
        if any(meta != metas[0] for meta in metas):
            raise ValueError(f"{cls.__name__}: batches recorded with different meta")
        return metas[0]


def _spans(offsets: Array, index: Array) -> tuple[Array, Array]:
    """Return the ragged rows of the samples `index`, and their new offsets."""
    import numpy as np

    lengths = offsets[index + 1] - offsets[index]
    joined = np.concatenate(([0], np.cumsum(lengths)))
    within = np.arange(joined[-1]) - np.repeat(joined[:-1], lengths)
    return np.repeat(offsets[index], lengths) + within, joined


def _joined(parts: Sequence[Array]) -> Array:
    import numpy as np

    lengths = np.concatenate([part[1:] - part[:-1] for part in parts])
    return np.concatenate(([0], np.cumsum(lengths)))
