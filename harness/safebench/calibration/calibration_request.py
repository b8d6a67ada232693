"""Calibrators that were asked for: looked up among the plugins, options checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench.options import build_options, convert
from safebench.specs import CalibratorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safebench.plugins import Plugins


PER_CATEGORY = "per_category"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRequest:
    """A calibrator that was asked for: its label in tables, its spec and options."""

    label: str
    spec: CalibratorSpec
    producer: str
    options: Mapping[str, Any]
    per_category: bool = False

    @property
    def transductive(self) -> bool:
        """Whether what a sample gets depends on the other samples that are judged."""
        return self.spec.fitted_on == "scores"


def request_calibrator(
    name: str, label: str, options: Mapping[str, Any], plugins: Plugins
) -> CalibrationRequest:
    """Look a calibrator up and check its options.

    Raises UnknownNameError with the nearest name, or OptionError.
    """
    spec = plugins.get(CalibratorSpec, name)
    if "+" in label or "/" in label:
        raise OptionError(f"calibrator label {label!r}: neither + nor / can be in it")
    given = {key: value for key, value in options.items() if key != PER_CATEGORY}
    where = f"calibrator {spec.name!r}, {PER_CATEGORY}"
    per_category: bool = convert(options.get(PER_CATEGORY, False), bool, where)
    if per_category and spec.fitted_on == "probe":
        raise OptionError(f"{where}: the probe tells one score, none by category")
    build_options(spec, given)
    owner = plugins.owner(spec)
    return CalibrationRequest(
        label=label,
        spec=spec,
        producer=f"{owner.distribution} {owner.version}",
        options=given,
        per_category=per_category,
    )


def request_calibrators(
    asked: Iterable[tuple[str, str, Mapping[str, Any]]], plugins: Plugins
) -> list[CalibrationRequest]:
    """Return calibrators by name, label and options; labels must differ."""
    requests = [request_calibrator(*named, plugins) for named in asked]
    for label, times in Counter(r.label for r in requests).items():
        if times > 1:
            raise OptionError(
                f"{times} calibrators are labelled {label!r}: say LABEL={label} to "
                "tell them apart"
            )
    return requests
