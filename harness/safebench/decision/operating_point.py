"""Operating points: a guard, its score, and from where on it blocks, as one file.

The file is all that `score` and `serve` need: it can be moved to another machine, where
the guard is recognised by the hashes in its identity and not by a path. It is sealed
with a checksum: one that was edited is refused.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from safebench import __version__
from safebench.calibration.fitted import read_calibrator
from safebench.checksums import CHECKSUM, sealed, unsealed
from safebench.errors import DataError, IncompatibleError, OptionError, RunFolderError
from safebench.files import write_json
from safebench.provenance import differences
from safebench.results.prediction_reading import (
    CombinationKey,
    read_combination_key,
)
from safebench.results.rows import RESULTS_FILE, read_rows
from safebench.results.run_files import MANIFEST_FILE, parse_manifest

from .remarks import calibrator_states
from .thresholds import GIVEN, REVIEW_BUDGET, Rule
from .transfer import ThresholdRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.rows import Row

    from .measured import MeasuredDecisions, ReviewBand
    from .transfer import SetThreshold, ThresholdReport

FORMAT, VERSION = "safebench-operating-point", 1
BLOCK, REVIEW, PASS = "block", "review", "pass"
# Of the configuration: who judges, and what is recorded for it.
_CONFIGURATION = (
    *("classifiers", "strategies", "models", "set", "model", "dtype", "adapter"),
)
_OTHER_RULES = (
    *("max_fpr", "min_recall", "review_budget", "given", "review_low", "control"),
)
# Names of a model for people: the other keys of an identity are hashes and options.
_NAMES = ("model", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A decision to deploy: ``score >= threshold`` is blocked.

    `classifier` holds the label, the producer (plugin and version), the model's name
    and the identity that the guard is recognised by; `configuration` the part of the
    run's that rebuilds it. `strategy` holds the label, name and options. `calibrator`
    is a fitted calibrator, None for raw scores. Scores from `review.low` up to
    `review.high` are reviewed; without a `high`, all from `low` on are, and none is
    blocked. `chosen` says how, on what and when, `realised` what was measured on test
    parts.
    """

    classifier: dict[str, Any]
    configuration: dict[str, Any]
    strategy: dict[str, Any]
    calibrator: dict[str, Any] | None
    task: str
    policy: str | None
    threshold: float
    review: dict[str, float | None] | None
    chosen: dict[str, Any]
    realised: list[dict[str, Any]]
    recorded: dict[str, Any] = field(default_factory=dict)
    safebench: str = __version__
    where: str = ""
    checksum: str = ""

    @property
    def label(self) -> str:
        """What names whose scores it decides on."""
        method = self.strategy["label"]
        if self.calibrator is not None:
            method += f"+{self.calibrator['label']}"
        return f"{self.classifier['label']}/{method}"

    def to_json(self) -> dict[str, Any]:
        """Return what is stored, with its checksum."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        del content["where"], content["checksum"]
        return sealed(json.loads(json.dumps(content, allow_nan=False)))

    @classmethod
    def from_json(cls, content: Any, where: str) -> Self:
        """Return a stored point; raises DataError, which names `where`, for others."""
        try:
            kept = _checked(content)
            known = {f.name: kept[f.name] for f in fields(cls) if f.name in kept}
            point = cls(**known, where=where, checksum=content[CHECKSUM])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise DataError(f"{where} is no operating point: {reason}") from None
        return point

    def action(self, score: float) -> str:
        """Return what becomes of a sample with a score, calibrated if the point is."""
        if self.review is None:
            return BLOCK if score >= self.threshold else PASS
        low, high = self.review["low"], self.review["high"]
        assert low is not None
        if high is None:
            return REVIEW if score >= low else PASS
        return BLOCK if score >= high else REVIEW if score >= low else PASS

    def check_identity(self, identity: Mapping[str, Any], producer: str = "") -> str:
        """Raise IncompatibleError for another guard than that of the point.

        Paths play no part where a hash speaks of the files. Returns a note where the
        same guard is read by another version of its plugin.
        """
        stored = self.classifier["identity"]
        differing = [
            text
            for text in differences(_comparable(stored), _comparable(identity))
            if not _only_path(text, stored, identity)
        ]
        # What the files hold says more than how they were read.
        differing.sort(key=lambda text: not text.startswith("weights"))
        if differing:
            raise IncompatibleError(
                f"{self.where} was chosen for {self.classifier['model']}, this is "
                f"another guard: {differing[0]}"
                + (f", and {len(differing) - 1} more" if len(differing) > 1 else "")
            )
        if producer and producer != self.classifier["producer"]:
            return (
                f"the operating point was chosen with {self.classifier['producer']}, "
                f"this is {producer}"
            )
        return ""


def _checked(content: Any) -> dict[str, Any]:
    """Return what a file holds; raises ValueError for another form or an edited one."""
    kept = unsealed(content)
    if kept.get("format") != FORMAT:
        raise ValueError("it says another format, or none")
    if kept.get("version") != VERSION:
        raise ValueError(f"version {kept.get('version')!r} of the format is not known")
    if CHECKSUM not in content:
        raise ValueError("its checksum is missing: it was changed")
    if not math.isfinite(float(kept["threshold"])):
        raise ValueError("its threshold is no number")
    return kept


def _comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells guards apart: without names, if there is anything else."""
    kept = {key: value for key, value in identity.items() if key not in _NAMES}
    kept = json.loads(json.dumps(kept, default=str))
    return kept or dict(identity)


def _only_path(text: str, stored: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether a difference is that of a place, where hashes of files are equal."""
    hashed = stored.get("weights")
    if not hashed or hashed != now.get("weights"):
        return False
    return text.startswith("options.") and ("/" in text or "\\" in text)


def read_point(path: str | Path) -> OperatingPoint:
    """Read an operating point; raises DataError for what is none, or was edited."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no operating point {str(path)!r}; `safebench threshold RUN ... --save` "
            "writes one"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no operating point: {error}") from None
    return OperatingPoint.from_json(content, str(path))


def request_of_point(
    point: OperatingPoint, given: Mapping[str, Any]
) -> ThresholdRequest:
    """Return what measures a point: its threshold and band, as they are.

    Raises OptionError for another rule beside it, and for saving it again.
    """
    for name in _OTHER_RULES:
        if given.get(name) is not None:
            option = "threshold" if name == "given" else name.replace("_", "-")
            raise OptionError(
                f"--operating-point has a threshold: leave out --{option}"
            )
    if given.get("save"):
        raise OptionError("--save: the operating point is a file already")
    review = point.review or {"low": None, "high": None}
    costs = {name: given.get(name) for name in ("cost_fp", "cost_fn")}
    if None in costs.values():
        costs = {name: point.chosen.get(name) for name in costs}
    return ThresholdRequest(
        rule=Rule(name=GIVEN, value=point.threshold, **costs),
        prevalence=given.get("prevalence"),
        review_low=review["low"] if review["high"] is not None else None,
        transfer=bool(given.get("transfer")),
    )


def check_run(point: OperatingPoint, files: Sequence[PredictionFile]) -> None:
    """Raise IncompatibleError for predictions that a point says nothing of.

    Those of another guard, calibrator or task, and of a set that was held out in
    another way: its test part may hold samples that the point was chosen on.
    """
    for file in files:
        guard = _read_guard(file.run, file.classifier)
        point.check_identity(guard["identity"])
        fitted = read_calibrator(file)
        known = None if fitted is None else (fitted.name, fitted.state)
        own = point.calibrator
        if known != (None if own is None else (own["name"], own["state"])):
            raise IncompatibleError(
                f"{point.where} was chosen on scores of another calibrator than those "
                f"of {file.path}"
            )
    chosen_on = {known["dataset"]: known for known in point.chosen["sets"]}
    for row in _rows_of(files[0].run, files):
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        if row.task != point.task:
            raise IncompatibleError(
                f"{point.where} was chosen for {point.task}, {dataset} asks for "
                f"{row.task}"
            )
        known = chosen_on.get(dataset)
        if known and known["split_hash"] and known["split_hash"] != row.split_hash:
            raise IncompatibleError(
                f"{point.where} was chosen on other held-out samples of {dataset} "
                f"(split {known['split_hash']}, here {row.split_hash}): the test part "
                "may hold some of them"
            )


def save_point(
    path: str | Path,
    reports: Sequence[ThresholdReport],
    files: Sequence[PredictionFile],
    date: datetime | None = None,
) -> Path:
    """Write the operating point of the one threshold that reports hold.

    Of one set, or with transfer that of all sets. Raises OptionError where there are
    several, and for a threshold that blocks nothing.
    """
    report = _only_report(reports)
    _refuse_combination(report.label, files)
    if report.everywhere is not None:
        own = [file for file in files if file.label == report.label]
        if len(calibrator_states(own)) > 1:
            raise OptionError(
                "--save: every set has a calibrator of its own: leave out --transfer, "
                "and say -d; or fit one for all with `safebench calibrate --fit-on`"
            )
        threshold, review = report.everywhere.threshold, report.everywhere.review
        measured: Sequence[MeasuredDecisions] = report.everywhere.measured
        datasets: Sequence[str] = report.everywhere.datasets
        note = report.everywhere.note
        sets = [known for known in report.sets if known.dataset in datasets]
    else:
        chosen = _only_set(report)
        threshold = chosen.choice.threshold if chosen.choice else None
        review, note, sets = chosen.review, chosen.note, [chosen]
        measured = (chosen.own,) if chosen.own else ()
    if threshold is None:
        raise OptionError(f"--save: no threshold to save: {note}")
    if math.isinf(threshold):
        raise OptionError("--save: the threshold blocks nothing, and needs no guard")
    matching = [f for f in files if f.label == report.label]
    point = _build_point(
        report, matching, sets, threshold, review, measured, date or datetime.now(UTC)
    )
    target = Path(path)
    if target.is_dir():
        raise OptionError(f"--save {path}: it is a folder, name a file")
    write_json(target, point.to_json())
    return target


def _refuse_combination(label: str, files: Sequence[PredictionFile]) -> None:
    """Raise OptionError for predictions that no guard made, but `combine`."""
    file = next(file for file in files if file.label == label)
    try:
        content = parse_manifest(file.run / MANIFEST_FILE)
    except (OSError, ValueError):  # whoever reads the guard from it says what is wrong
        return
    stored = content.get("combinations")
    # with a calibrator or without
    if isinstance(stored, dict) and f"{file.classifier}/{file.strategy}" in stored:
        raise OptionError(
            f"--save: {label} is a combination of stored predictions, which cannot be "
            "served: save the point of one of its parts"
        )


def _only_report(reports: Sequence[ThresholdReport]) -> ThresholdReport:
    usable = [r for r in reports if any(s.choice is not None for s in r.sets)]
    if len(usable) != 1:
        names = ", ".join(report.label for report in usable)
        raise OptionError(f"--save: whose point? say --of, one of {names}")
    return usable[0]


def _only_set(report: ThresholdReport) -> SetThreshold:
    usable = [known for known in report.sets if known.choice is not None]
    if len(usable) != 1:
        names = ", ".join(known.dataset for known in usable)
        raise OptionError(
            f"--save: the point of which set? say -d, one of {names}; --transfer saves "
            "one threshold for all"
        )
    return usable[0]


def _build_point(
    report: ThresholdReport,
    files: Sequence[PredictionFile],
    sets: Sequence[SetThreshold],
    threshold: float,
    review: ReviewBand | None,
    measured: Sequence[MeasuredDecisions],
    date: datetime,
) -> OperatingPoint:
    run = files[0].run
    configuration = read_configuration(run)
    guard = _read_guard(run, report.classifier)
    rows = _rows_of(run, files)
    row = rows[0] if rows else None
    strategy = files[0].strategy
    request, rule = report.request, report.request.rule
    return OperatingPoint(
        classifier={
            "label": report.classifier,
            "name": guard["classifier"],
            "producer": guard["producer"],
            "model": report.model,
            "identity": guard["identity"],
        },
        configuration=configuration,
        strategy=_strategy_record(strategy, configuration, row),
        calibrator=_calibrator_record(files[0]),
        task=report.task,
        policy=row.policy if row else None,
        threshold=threshold,
        review=None if review is None else {"low": review.low, "high": review.high},
        chosen={
            "rule": rule.name,
            **{k: v for k, v in asdict(rule).items() if k != "name" and v is not None},
            "control": request.control,
            "delta": request.delta if request.control == "ltt" else None,
            "prevalence": request.prevalence,
            "part": None if rule.name == GIVEN else "calibration",
            "review_budget": rule.value
            if rule.name == REVIEW_BUDGET
            else request.review,
            "sets": [
                {
                    "dataset": known.dataset,
                    "threshold": known.choice and known.choice.threshold,
                    "calibration": known.choice and known.choice.to_json(),
                    **_hashes(known.dataset, rows),
                }
                for known in sets
            ],
            "date": date.isoformat(timespec="seconds"),
        },
        realised=[m.to_json() for m in measured],
        recorded={
            "device": row.device if row else None,
            "dtype": row.dtype if row else None,
        },
    )


def read_configuration(run: Path) -> dict[str, Any]:
    """Return what a run's configuration says of who judges."""
    path = run / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {key: content[key] for key in _CONFIGURATION if key in content}
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise RunFolderError(
            f"--save: {path} does not say how the guard was made: {error}"
        ) from None


def _read_guard(run: Path, classifier: str) -> dict[str, Any]:
    path = run / "manifest.json"
    try:
        content = unsealed(json.loads(path.read_text(encoding="utf-8")))
        guard = content["identity"]["classifiers"][classifier]
        return {key: guard[key] for key in ("classifier", "producer", "identity")}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"--save: {path} does not identify {classifier}: {error}"
        ) from None


def _rows_of(run: Path, files: Sequence[PredictionFile]) -> list[Row]:
    path = run / RESULTS_FILE
    keys = {read_combination_key(file.path) for file in files}
    return [
        row
        for row in (read_rows(path) if path.is_file() else [])
        if row.slice is None
        and CombinationKey(
            *(row.classifier, row.strategy, row.dataset, row.config, row.split),
            row.calibrator,
        )
        in keys
    ]


def _hashes(dataset: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return which samples were held out, None where the results do not say."""
    names = {":".join(filter(None, (r.dataset, r.config, r.split))): r for r in rows}
    row = names.get(dataset)
    return {
        "split_hash": row.split_hash if row else None,
        "data_hash": row.data_hash if row else None,
    }


def _strategy_record(
    label: str, configuration: Mapping[str, Any], row: Row | None
) -> dict[str, Any]:
    refs = [
        ref if isinstance(ref, dict) else {"name": ref}
        for ref in configuration.get("strategies", ())
    ]
    named = [ref["name"] for ref in refs if ref.get("label", ref["name"]) == label]
    params = dict(row.params) if row else {}
    params.pop("threshold", None)  # of the run's decisions: the point has its own
    return {"label": label, "name": named[0] if named else label, "params": params}


def _calibrator_record(file: PredictionFile) -> dict[str, Any] | None:
    """Return the fitted calibrator of calibrated predictions, None for raw scores.

    Raises OptionError for one that needs the other samples of a set.
    """
    fitted = read_calibrator(file)
    if fitted is None:
        return None
    if fitted.transductive:
        raise OptionError(
            f"--save: {fitted.label} is fitted on all samples of a set, and says "
            "nothing of one alone: choose another calibrator"
        )
    return fitted.to_json()
