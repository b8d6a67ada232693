"""A guard, a strategy, a metric, a format, a trainer and a reader, all rowdy."""

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores
from safebench.metrics import MetricValue
from safebench.strategies import Judgements

from .deeds import deed


def evidence(values, scale="probability"):
    """Return the scores of a guard with one label."""
    return Scores({"values": values}, meta={"labels": ["bad"], "scale": scale})


class Guard(Classifier):
    """A share of letters; misbehaves where its options say."""

    shard_size = 20

    def __init__(self, options):
        super().__init__(options)
        self.calls = 0
        self._deed("init")
        if options.place == "shard_size":
            self.shard_size = {"zero": 0, "none": None, "text": "20"}[options.how]

    def _deed(self, place):
        if self.options.place == place and self.calls >= self.options.calls:
            return deed(self.options.how)
        return ""

    @property
    def facts(self):
        """Return what the option asks for."""
        how = self._deed("facts")
        return {"none": None, "address": {"a": object()}}.get(how, {"device": "cpu"})

    @property
    def state(self):
        """Return a state."""
        how = self._deed("state")
        return {"none": None, "list": [1]}.get(how, {})

    def close(self):
        """Misbehave once more."""
        self._deed("close")

    def record(self, samples, kinds, on_progress):  # noqa: C901, PLR0912 - many deeds
        """Return scores, or something else."""
        how = self._deed("record")
        self.calls += 1
        n = len(samples)
        values = np.array([[len(s.judged.text) % 7 / 7] for s in samples])
        bad = {
            "two": 2.0,
            "minus": -0.5,
            "inf": np.inf,
        }
        if how in bad:
            values[-1] = bad[how]
        traces = [Trace() for _ in samples]
        if how == "none":
            return None
        if how == "pair":
            return ({Scores: evidence(values)}, traces)
        if how == "complex":
            values = values + 1j
        if how == "texts":
            values = values.astype(str)
        if how == "objects":
            values = values.astype(object)
        if how == "masked":
            values = np.ma.masked_array(values, values > 0.5)
        scores = evidence(values)
        if how == "generator":
            traces = (trace for trace in traces)
        if how == "bad_trace":
            traces[0] = {"error": None}
        if how == "bad_error":
            traces[0] = Trace(error=ValueError("x"))
        if how == "bad_seconds":
            traces[0] = Trace(seconds=float("nan"))
        if how == "bad_count":
            traces[0] = Trace(tokens_in=-3)
        if how == "wrong_kind":
            return Recording(evidence={Scores: values}, traces=traces)
        if how == "short":
            scores = evidence(values[:-1])
        if how == "bad_meta":
            scores.meta["labels"] = object()
        if how == "no_labels":
            del scores.meta["labels"]
        if how == "many_labels":
            scores.meta["labels"] = ["bad", "worse"]
        if how == "no_scale":
            scores.meta.clear()
            scores.meta["labels"] = ["bad"]
        if how == "numpy_counts":
            traces = [
                Trace(tokens_in=np.int64(3), seconds=np.float32(1)) for _ in range(n)
            ]
        on_progress(n)
        return Recording(evidence={Scores: scores}, traces=traces)


def judge(bundle, context):  # noqa: C901, PLR0912 - many deeds
    """Return judgements, or something else."""
    how = deed(context.options.how)
    scores = bundle[Scores]
    values = scores["values"]
    score = values[:, 0].copy()
    if how == "write":
        values *= 0
    if how == "unlock":
        values.setflags(write=True)
        values *= 0
    if how == "base":
        values.base[:] = 0
    if how == "replace":
        scores.arrays["values"] = values * 0
    if how == "meta":
        scores.meta["labels"].clear()
    if how == "cached":
        derived = scores.cached(double)
        derived *= 0
    changed = {
        "two": 2.0,
        "minus": -0.1,
        "inf": np.inf,
    }
    if how in changed:
        score[0] = changed[how]
    if how == "none":
        return None
    if how == "array":
        return score
    if how == "generator":
        return (s for s in score)
    columns = {
        "complex": score + 1j,
        "objects": score.astype(object),
        "texts": score.astype(str),
        "list": score.tolist(),
        "column": score[:, None],
        "masked": np.ma.masked_array(score, score > 0.5),
    }
    size = len(score)
    if how == "fewer":
        score, size = score[1:], size - 1
    result = Judgements(size=size, score=columns.get(how, score))
    if how == "late":
        result.score = result.score * 3
    if how == "bad_error":
        result.errors[0] = ValueError("x")
    if how == "bad_decision":
        result.decision = np.full(size, 7.0)
    if how == "crossed":
        result.lower, result.upper = np.full(size, 0.9), np.full(size, 0.1)
    if how == "bad_note":
        result.note = 3
    return result


def double(scores):
    """Return something that is derived from evidence, once."""
    return scores["values"] * 2


def metric(outcome):
    """Return a value, or something else."""
    how = deed("", "metric")
    if how == "write":
        outcome.y[:] = True
    if how == "write_score":
        outcome.score[:] = 0
    others = {
        "none": None,
        "float": 0.5,
        "text": MetricValue("0.5"),
        "complex": MetricValue(1j),
        "array": MetricValue(np.ones(3)),
        "bool": MetricValue(True),
        "note": MetricValue(0.5, note=b"x"),
        "bound": MetricValue(0.5, bound_low="low"),
        "nan": MetricValue(float("nan")),
        "float32": MetricValue(np.float32(0.5), n_scored=np.int64(3)),
    }
    return others.get(how, MetricValue(0.5))


NO_DEFINITION = {"columns": None}


def render(table, options):
    """Return a text, or something else."""
    how = deed("", "reporter")
    return {"none": None, "bytes": b"x", "lines": ["a"]}.get(how, "a table")


def fit(training):
    """Return nothing, or raise."""
    deed("", "trainer")


def read(request):
    """Yield something that is no example."""
    how = deed("", "dataset")
    yield {"dict": {"prompt": "x"}, "none": None}.get(how, "row")
