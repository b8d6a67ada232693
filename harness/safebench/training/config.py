"""What a training was asked to do: the command line over a YAML file over defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from safebench.errors import OptionError, nearest
from safebench.options import convert, option_names
from safebench.yaml_file import read_mapping

from .flags import listed
from .split import parse_shares

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safebench.specs import TrainerSpec


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training, as asked for. `options` are the trainer's own, not yet checked.

    `sample` is a count or "all"; None means the trainer's default. `set` goes to the
    training library.
    """

    dataset: tuple[str, ...] = ()
    val_dataset: tuple[str, ...] = ()
    test_dataset: tuple[str, ...] = ()
    sample: int | str | None = None
    split: str = "70/15/15"
    seed: int = 0
    out: str | None = None
    resume: bool = False
    data_root: str | None = None
    label_map: dict[str, str] = field(default_factory=dict)
    on_bad_row: Literal["fail", "skip"] = "fail"
    set: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counted = isinstance(self.sample, int) and self.sample > 0
        if not counted and self.sample not in (None, "all"):
            raise OptionError(f"sample: a number from 1, or all, got {self.sample!r}")
        parse_shares(self.split)


COMMON = tuple(f.name for f in fields(TrainConfig) if f.name != "options")
LISTS = ("dataset", "val_dataset", "test_dataset")
MAPPINGS = ("set", "label_map")


def load_config(
    spec: TrainerSpec, path: Path | None, flags: Mapping[str, Any]
) -> TrainConfig:
    """Return the training that `flags` (None or empty: not given) ask for, over a file.

    The flags of the trainer's own options stand among them under their field names.
    """
    own = option_names(spec)
    stored = _from_yaml(spec, path, own) if path else {}
    given = {k: v for k, v in flags.items() if v not in (None, (), {})}
    for name in MAPPINGS:
        if name in given:
            given[name] = stored.get(name, {}) | given[name]
    merged = stored | given
    options = listed(spec, {k: merged.pop(k) for k in own if k in merged})
    hints = get_type_hints(TrainConfig)
    plain = {
        k: v if k in MAPPINGS else convert(v, hints[k], k) for k, v in merged.items()
    }
    return TrainConfig(**plain, options=options)


def _from_yaml(spec: TrainerSpec, path: Path, own: list[str]) -> dict[str, Any]:
    found = {k.replace("-", "_"): v for k, v in read_mapping(path).items()}
    meant = found.pop("trainer", spec.name)
    if meant != spec.name:
        raise OptionError(f"{path} is for the trainer {meant!r}, not {spec.name!r}")
    known = [*COMMON, *own]
    for key, value in found.items():
        if key not in known:
            listed = ", ".join(sorted(known))
            raise OptionError(
                f"{path}: unknown key {key!r}{nearest(key, known)}\n  keys: {listed}"
            )
        if key in LISTS and isinstance(value, str):
            found[key] = (value,)
        if key in MAPPINGS and not isinstance(value, dict):
            raise OptionError(f"{path}: {key}: expected keys and values")
    return found


def parse_settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """Read ``key=value`` texts, each value as a YAML scalar.

    ``1e-5`` is a number, too, though YAML 1.1 wants a point in it.
    """
    import yaml

    from safebench.run.terms import parse_pairs

    settings = parse_pairs(list(texts), "--set")
    try:
        return {k: _number(yaml.safe_load(text)) for k, text in settings.items()}
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"--set: {problem}") from None


def _number(value: Any) -> Any:
    if isinstance(value, str) and any(map(str.isdigit, value)):
        try:
            return float(value)
        except ValueError:
            return value
    return value
