"""A plugin as a stranger would write it: a guard and two calibrators."""

from dataclasses import dataclass

import numpy as np

from safebench import CalibratorSpec, ClassifierSpec, hookimpl
from safebench.calibration import Calibrator
from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import DataError
from safebench.evidence import Scores


@dataclass(frozen=True)
class CoinOptions:
    silent: bool = False


class Coin(Classifier):
    """Says the number that a text ends with; nothing of an empty one."""

    def record(self, samples, kinds, on_progress):
        words = [s.judged.text.rpartition(" ")[2] for s in samples]
        if self.options.silent and "N/A" in words:
            raise OSError("says nothing without content")
        known = {"N/A": 0.1, "[MASK]": 0.3, "": np.nan}
        p = np.array([known.get(word) or float(word) for word in words])
        on_progress(len(samples))
        meta = {"labels": ["unsafe"], "scale": "probability"}
        evidence = {Scores: Scores({"values": p[:, None]}, meta=meta)}
        return Recording(evidence=evidence, traces=[Trace() for _ in samples])


class Same(Calibrator):
    """Leaves every probability as it is."""

    def fit(self, scores, y):
        self.state = {"n": np.int64(len(scores))}

    def transform(self, scores):
        return scores


class Odd(Calibrator):
    """Says why it cannot be fitted, and is no probability where it is."""

    def fit(self, scores, y):
        if len(scores) < 50:
            raise DataError("too few for this one")

    def transform(self, scores):
        return scores + 1


@hookimpl
def safebench_classifiers():
    return [
        ClassifierSpec(
            name="coin",
            load="foreign_plugin:Coin",
            options="foreign_plugin:CoinOptions",
            provides=frozenset({Scores}),
        )
    ]


@hookimpl
def safebench_calibrators():
    return [
        CalibratorSpec(name="same", load="foreign_plugin:Same"),
        CalibratorSpec(name="odd", load="foreign_plugin:Odd"),
    ]
