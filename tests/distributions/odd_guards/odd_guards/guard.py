"""What the odd guards do."""

import time
from dataclasses import dataclass

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import IncompatibleError, ModelError
from safebench.evidence import Cost, Scores
from safebench.strategies.base import Judgements


def scores(values):
    """Return one score a sample."""
    meta = {"labels": ["odd"], "scale": "score"}
    return {Scores: Scores({"values": [[v] for v in values]}, meta=meta)}


class Priced(Classifier):
    """A cost of one for each "bad", less one and a half."""

    def record(self, samples, kinds, on_progress):
        """Return the costs."""
        values = [s.judged.text.count("bad") - 1.5 for s in samples]
        meta = {"bias": None, "temperature": None, "n_calibration": 0}
        traces = [Trace(tokens_dropped=7, dropped_side="left") for _ in samples]
        return Recording(
            evidence={Cost: Cost({"value": values}, meta=meta)}, traces=traces
        )


class Mute(Classifier):
    """Fails on every sample."""

    def record(self, samples, kinds, on_progress):
        """Return placeholders with an error."""
        traces = [Trace(error="no words", raw="\x1b[31m?") for _ in samples]
        return Recording(evidence=scores([0.0] * len(samples)), traces=traces)


class Bursting(Classifier):
    """Raises what no contract foresees."""

    def record(self, samples, kinds, on_progress):
        """Burst."""
        raise RuntimeError("secret of the inside")


class Liar(Classifier):
    """Answers twice."""

    def record(self, samples, kinds, on_progress):
        """Return two scores for one sample."""
        return Recording(evidence=scores([0.1, 0.2]), traces=[Trace(), Trace()])


@dataclass(frozen=True)
class Needs:
    """`model`: which one; there is none by default."""

    model: str = ""

    def __post_init__(self):
        if not self.model:
            raise ValueError("say model=DIR")


class Needy(Classifier):
    """Cannot be loaded."""

    def __init__(self, options):
        raise ModelError(f"no model in {options.model!r}")


class Counted(Classifier):
    """Counts how often it was loaded, and how many ask it at once."""

    loads = 0
    inside = 0
    most = 0

    def __init__(self, options):
        super().__init__(options)
        time.sleep(0.05)
        Counted.loads += 1

    def record(self, samples, kinds, on_progress):
        """Stay for a moment."""
        Counted.inside += 1
        Counted.most = max(Counted.most, Counted.inside)
        time.sleep(0.01)
        Counted.inside -= 1
        return Recording(
            evidence=scores([0.9] * len(samples)), traces=[Trace() for _ in samples]
        )


def raw_cost(evidence, context):
    """Return the cost itself."""
    value = evidence[Cost]["value"]
    return Judgements(size=len(value), score=value, probability=False)


def impossible(evidence, context):
    """Refuse whatever the evidence is."""
    raise IncompatibleError("it needs what no model has")
