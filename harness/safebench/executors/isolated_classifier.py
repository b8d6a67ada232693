"""A plugin's classifier, isolated: what it raises or returns wrongly is named.

Evidence is stored for good and read by every strategy, so what cannot be true is
refused here, where it is still known whose it is.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import PluginError
from safebench.evidence import Evidence
from safebench.evidence.meta_checks import meta_problem
from safebench.identity import json_mapping
from safebench.isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.records import Sample
    from safebench.specs import ClassifierSpec


class Loadable(Protocol):
    """A classifier with its options, such as a `ClassifierJob`."""

    @property
    def spec(self) -> ClassifierSpec:
        """What the plugin declared."""

    @property
    def options(self) -> Any:
        """The instance of its options dataclass; None without one."""


# fields of a trace
_COUNTS = ("tokens_in", "tokens_out", "tokens_dropped", "windows")
_AMOUNTS = ("forward_passes", "seconds")


def load_classifier(classifier: Loadable) -> Classifier:
    """Load a model; every later call of it is isolated, too.

    Raises `PluginError` for whatever the plugin's code raises but a `SafebenchError`.
    """
    spec = classifier.spec
    code = spec.code()
    with isolated(spec):
        model = code(classifier.options)
    if not isinstance(model, Classifier):
        raise PluginError(
            f"{spec.described}: {spec.load} made {_a(model)}, no Classifier"
        )
    return IsolatedClassifier(spec, model)


class IsolatedClassifier(Classifier):
    """A classifier whose calls end in a `PluginError` that names it, or in order."""

    def __init__(self, spec: ClassifierSpec, model: Classifier) -> None:
        super().__init__(model.options if hasattr(model, "options") else None)
        self._spec = spec
        self._model = model

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is part of the evidence key; JSON values."""
        return self._json_mapping("facts")

    @property
    def state(self) -> Mapping[str, Any]:
        """What a resumed run goes on with; JSON values."""
        return self._json_mapping("state")

    @property
    def label(self) -> str:
        """The model's name for tables."""
        with isolated(self._spec):
            return str(self._model.label)

    @property
    def shard_size(self) -> int:  # type: ignore[override]
        """How many samples are recorded between two writes; at least one."""
        with isolated(self._spec):
            size = self._model.shard_size
        if not isinstance(size, int) or size < 1:
            self._refuse(f"shard_size is {size!r}, no number of samples")
        return size

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Record, and refuse what is no evidence or cannot be true.

        The places of samples with an error hold anything, and are not looked at.
        """
        with isolated(self._spec):
            recording: Any = self._model.record(samples, kinds, on_progress)
        if not isinstance(recording, Recording):
            self._refuse(f"record() returned {_a(recording)}, not a Recording")
        if not isinstance(recording.evidence, dict):
            self._refuse(f"evidence is {_a(recording.evidence)}, not a dict")
        if not isinstance(recording.traces, (list, tuple)):
            self._refuse(f"traces are {_a(recording.traces)}, not a list")
        for number, trace in enumerate(recording.traces):
            self._check_trace(trace, f"traces[{number}]")
        peak = recording.peak_memory_mib
        if peak is not None:
            recording.peak_memory_mib = self._number(peak, "peak_memory_mib")
        for kind, batch in recording.evidence.items():
            if not isinstance(batch, Evidence) or not isinstance(batch, kind):
                self._refuse(f"evidence of {_name(kind)} is {_a(batch)}")
            if len(batch) == len(recording.traces):  # otherwise the caller refuses
                self._check_values(kind, batch, recording.traces)
        checked: Recording = recording
        return checked

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the state of an earlier run."""
        with isolated(self._spec):
            self._model.restore(state)

    def token_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of verdict tokens, one each."""
        with isolated(self._spec):
            pieces: Any = list(self._model.token_bytes(tokens))
        if len(pieces) != len(tokens) or not all(isinstance(p, bytes) for p in pieces):
            self._refuse("token_bytes() did not return bytes for each token")
        return pieces  # type: ignore[no-any-return]

    def close(self) -> None:
        """Free the model."""
        with isolated(self._spec):
            self._model.close()

    def _refuse(self, what: str) -> NoReturn:
        raise PluginError(f"{self._spec.described}: {what}")

    def _json_mapping(self, name: str) -> dict[str, Any]:
        with isolated(self._spec):
            return json_mapping(getattr(self._model, name), name)

    def _check_values(
        self, kind: type[Evidence], batch: Evidence, traces: Sequence[Trace]
    ) -> None:
        judged = [row for row, trace in enumerate(traces) if trace.error is None]
        with isolated(self._spec):
            whole = len(judged) == len(batch)  # no copy then
            chosen = batch if whole else batch.select(judged)
            wrong = chosen.impossible() if judged else None
            json.dumps(batch.meta)  # it is stored as such
            wrong = meta_problem(batch) or wrong
        if wrong is not None:
            self._refuse(f"{_name(kind)}: {wrong}")

    def _check_trace(self, trace: Any, where: str) -> None:
        """Refuse a trace that could not be stored; numpy's numbers become Python's."""
        if not isinstance(trace, Trace):
            self._refuse(f"{where} is {_a(trace)}, not a Trace")
        for name in _COUNTS + _AMOUNTS:
            value = getattr(trace, name)
            kind = int if name in _COUNTS else float
            if type(value) is kind and 0 <= value < math.inf:  # as nearly all are
                continue
            number = self._number(value, f"{where}.{name}")
            if number < 0 or (name in _COUNTS and number != int(number)):
                self._refuse(f"{where}.{name} is {value!r}")
            if not isinstance(value, (int, float)) or name in _COUNTS:
                setattr(trace, name, int(number) if name in _COUNTS else number)
        for name in ("raw", "error", "dropped_side"):
            value = getattr(trace, name)
            if not isinstance(value, str) and (value is not None or name[0] == "d"):
                self._refuse(f"{where}.{name} is {_a(value)}, no text")
        if trace.error == "":
            trace.error = "no reason given"

    def _number(self, value: Any, where: str) -> float:
        if not is_real(value) or not math.isfinite(value):
            self._refuse(f"{where} is {value!r:.60}, no number")
        return float(value)


def is_real(value: Any) -> bool:
    """Tell whether a value is one real number, Python's or numpy's, and no bool."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )


def _a(value: Any) -> str:
    """Return ``a list`` or ``None``, for messages."""
    return "None" if value is None else f"a {type(value).__name__}"


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))
