"""What a run was asked to do: the command line over a YAML file over defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from safebench.errors import OptionError, nearest
from safebench.options import convert
from safebench.yaml_file import read_mapping

from .terms import Term, parse_term, term_from_yaml

if TYPE_CHECKING:
    from pathlib import Path

PLURALS = {
    "classifier": "classifiers",
    "strategy": "strategies",
    "dataset": "datasets",
}
SHORT_SETS = ("device", "dtype", "adapter")
ALL = "all"
MAPPINGS = ("set", "label_map")
CHOICES = ("on_bad_row", "predictions")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run, as asked for. `models` overrides strategy options for one model each.

    `set` holds ``[LABEL.]key`` -> value. `max_failures` is a count or a share ("5%").
    """

    classifiers: tuple[Term, ...] = ()
    strategies: tuple[Term, ...] = ()
    datasets: tuple[str, ...] = ()
    model: str | None = None
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    adapter: str | None = None
    limit: int | None = None
    seed: int = 0
    calibration_fraction: float = 1 / 3
    max_failures: str = "5%"
    on_bad_row: Literal["fail", "skip"] = "fail"
    label_map: dict[str, str] = field(default_factory=dict)
    data_root: str | None = None
    out: str | None = None
    predictions: Literal["jsonl", "parquet", "none"] = "jsonl"
    shard_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.calibration_fraction < 1:
            raise OptionError(
                "calibration_fraction: a share from 0 to below 1, "
                f"got {self.calibration_fraction}"
            )
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"limit: at least 1, got {self.limit}")
        if self.shard_size is not None and self.shard_size < 1:
            raise OptionError(f"shard_size: at least 1, got {self.shard_size}")
        hints = get_type_hints(RunConfig)
        for name in CHOICES:
            convert(getattr(self, name), hints[name], name)
        self.allowed_failures(1)

    def allowed_failures(self, samples: int) -> float:
        """Return how many of `samples` may fail before the exit code says so."""
        text = str(self.max_failures).strip()
        try:
            share = text.endswith("%")
            number = float(text.rstrip("%"))
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise OptionError(
                f"max_failures: a count or a share such as 5%, got {text!r}"
            )
        return number / 100 * samples if share else number


def load_config(path: Path | None, flags: dict[str, Any]) -> RunConfig:
    """Return the run that `flags` (None: not given) ask for, over a YAML file."""
    given = {key: value for key, value in flags.items() if value not in (None, (), {})}
    stored = _from_yaml(path) if path else {}
    if "strategies" in given:
        given["strategies"] = _keep_parameters(given["strategies"], stored)
    merged = stored | given
    for name in MAPPINGS:
        if name in given:
            merged[name] = stored.get(name, {}) | given[name]
    return RunConfig(**merged)


def _keep_parameters(asked: tuple[Term, ...], stored: dict[str, Any]) -> Any:
    """Parameters of the file stay valid for a strategy that a flag chose by name."""
    known = {term.name.casefold(): term for term in stored.get("strategies", ())}
    return tuple(
        term.over(known[term.name.casefold()])
        if term.name.casefold() in known
        else term
        for term in asked
    )


def _from_yaml(path: Path) -> dict[str, Any]:
    stored = {k.replace("-", "_"): v for k, v in read_mapping(path).items()}
    return {PLURALS.get(k, k): _value(path, k, v) for k, v in stored.items()}


def _value(path: Path, key: str, value: Any) -> Any:
    names = [f.name for f in fields(RunConfig)]
    name = PLURALS.get(key, key)
    if name not in names:
        listed = ", ".join(sorted(names))
        raise OptionError(
            f"{path}: unknown key {key!r}{nearest(str(key), [*names, *PLURALS])}\n"
            f"  keys: {listed}"
        )
    if name in ("classifiers", "strategies"):
        return _terms(path, name, value)
    if name == "datasets":
        return tuple(str(v) for v in (value if isinstance(value, list) else [value]))
    if name in ("models", *MAPPINGS):
        return _mapping(path, name, value)
    wanted = {
        "limit": int,
        "seed": int,
        "calibration_fraction": float,
        "shard_size": int,
    }
    if name in wanted:
        try:
            return wanted[name](value)
        except (TypeError, ValueError):
            raise OptionError(f"{path}: {name}: {value!r} is not a number") from None
    return str(value)


def _terms(path: Path, name: str, value: Any) -> tuple[Term, ...]:
    """Read ``name``, a list of names or of mappings, or name -> parameters."""
    if isinstance(value, str):
        return (parse_term(value),)
    if isinstance(value, dict):
        return tuple(
            Term(str(k), str(k), _mapping(path, f"{name}.{k}", v or {}))
            for k, v in value.items()
        )
    if isinstance(value, list):
        return tuple(term_from_yaml(f"{path}: {name}", item) for item in value)
    raise OptionError(f"{path}: {name}: expected a name, a list or a mapping")


def _mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{path}: {name}: expected keys and values, got {value!r}")
    return {str(k): v for k, v in value.items()}
