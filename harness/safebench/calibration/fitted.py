"""A calibrator as it was fitted: what it rests on, and the form it is stored in.

``calibrators/CLASSIFIER/DATASET/STRATEGY+CALIBRATOR.json`` in a run folder, beside the
predictions that it made; an operating point holds the same object.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from safebench.checksums import sealed, unsealed
from safebench.errors import DataError, PluginError
from safebench.isolation import isolated
from safebench.options import build_options
from safebench.results.prediction_reading import read_combination_key
from safebench.results.prediction_writing import path_of
from safebench.specs import CalibratorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.results.prediction_reading import CombinationKey, PredictionFile
    from safebench.typing import Floats

    from .base import Calibrator

FORMAT = "safebench-calibrator"
VERSION = 1
CALIBRATORS_FOLDER = "calibrators"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitData:
    """What a calibrator was fitted on.

    `dataset` as tables call it, `part` ``calibration``, ``all`` (transductive) or
    ``probe``. `n` scores of `groups` groups that belong together, `n_pos` of them
    positive (None: without labels). `predictions` is the checksum of the raw
    predictions, which says whether they have changed since.
    """

    dataset: str
    part: str
    n: int
    groups: int
    n_pos: int | None = None
    split_hash: str | None = None
    data_hash: str | None = None
    predictions: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCalibrator:
    """A fitted map from the scores of one classifier and strategy to probabilities.

    `label` is what tables call it, `name` the component, `producer` its distribution
    and version. `dataset` is the one whose predictions it made; `fit.dataset` may be
    another. `state` maps scores, `category_states` those of categories, by code.
    `probability` says that raw scores are probabilities, `predictions` is a checksum of
    those that were mapped, as `fit.predictions` is of those it was fitted on.
    """

    label: str
    name: str
    producer: str
    options: dict[str, Any]
    classifier: str
    model: str
    strategy: str
    dataset: str
    task: str
    probability: bool
    transductive: bool
    predictions: str
    fit: FitData
    state: dict[str, Any]
    category_states: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads back, with a checksum."""
        head = {"format": FORMAT, "version": VERSION}
        return sealed(head | json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_json(cls, content: Any, where: str) -> Self:
        """Read a stored calibrator; raises DataError, which names `where`, for others.

        Fields of later versions are passed over.
        """
        try:
            kept = unsealed(content)
            form = (kept["format"], kept["version"])
            known = {f.name: kept[f.name] for f in fields(cls)}
            fit = FitData(**{f.name: known["fit"][f.name] for f in fields(FitData)})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where} holds no calibrator: {error}") from None
        if form != (FORMAT, VERSION):
            raise DataError(f"{where}: a form that this version does not know: {form}")
        return cls(**known | {"fit": fit, "notes": tuple(known["notes"])})

    def calibrator(self, plugins: Plugins, category: str | None = None) -> Calibrator:
        """Return what maps scores, or those of one category.

        Raises UnknownNameError if no plugin has it any more, and KeyError for a
        category whose scores were left as they are.
        """
        spec = plugins.get(CalibratorSpec, self.name)
        built = build_calibrator(spec, self.options, probability=self.probability)
        built.state = self.state if category is None else self.category_states[category]
        return built


def build_calibrator(
    spec: CalibratorSpec, options: dict[str, Any], *, probability: bool
) -> Calibrator:
    """Return a calibrator with its options, and nothing fitted yet."""
    class_ = spec.code()
    built_options = build_options(spec, options)
    with isolated(spec):
        calibrator: Calibrator = class_(built_options) if spec.options else class_()
        calibrator.probability = probability
    return calibrator


def transform(spec: CalibratorSpec, calibrator: Calibrator, scores: Floats) -> Floats:
    """Return P(positive) of scores (n,), NaN where there is none.

    Raises `PluginError` for a calibrator that returns anything but probabilities.
    """
    import numpy as np

    from safebench.evidence.arrays import TOLERANCE

    known = ~np.isnan(scores)
    p = np.full(len(scores), np.nan)
    if known.any():
        with isolated(spec):
            mapped = np.asarray(calibrator.transform(scores[known]), dtype=float)
        if mapped.shape != (int(known.sum()),):
            raise PluginError(
                f"{spec.described}: {mapped.shape} probabilities of "
                f"{int(known.sum())} scores"
            )
        outside = ~((mapped >= -TOLERANCE) & (mapped <= 1 + TOLERANCE))  # NaN, too
        if outside.any():
            raise PluginError(
                f"{spec.described}: {mapped[outside][0]:.6g} is no probability"
            )
        p[known] = np.clip(mapped, 0, 1)
    return p


def calibrator_path(run: Path, key: CombinationKey) -> Path:
    """Return where the calibrator of calibrated predictions is kept."""
    return path_of(run, key, CALIBRATORS_FOLDER, ".json")


def read_calibrator(file: PredictionFile) -> FittedCalibrator | None:
    """Return the calibrator that made a file of predictions, None for raw ones.

    Raises DataError where it is missing or damaged.
    """
    if file.calibrator is None:
        return None
    path = calibrator_path(file.run, read_combination_key(file.path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{file.path} was calibrated, but {path} is missing: run "
            "`safebench calibrate` again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} holds no calibrator: {error}") from None
    return FittedCalibrator.from_json(content, str(path))
