"""Packs: lists of datasets that people compare guards on, as versioned data.

``pack:core`` is one of those beside this module; ``pack:./mine.yaml`` a file of the
user's, and ``pack:package:folder/file.yaml`` a resource of an installed package. A pack
names datasets as ``-d`` does, each with the rows that it is known to have.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.config_file import parse_yaml_mapping
from safebench.errors import DataError, OptionError, did_you_mean, unknown_name
from safebench.records import RESPONSE_TASKS

from .files import file_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.resources.abc import Traversable

PREFIX = "pack:"
PACKAGE, FOLDER = "safebench.datasets", "packs"
_SUFFIXES = (".yaml", ".yml")
_WHOLE_OPTION = ",turns=all"
_KEYS = {"id", "version", "summary", "sets"}


@dataclass(frozen=True, slots=True)
class PackEntry:
    """A dataset of a pack, as ``-d`` names it; `rows` is None where nobody says."""

    dataset: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Pack:
    """A versioned list of datasets; raises `DataError` if it names one twice.

    With `whole_turns` those that may hold conversations are judged whole.
    """

    id: str
    version: str
    summary: str
    entries: tuple[PackEntry, ...]
    whole_turns: bool = False

    @property
    def name(self) -> str:
        """The name for rows and notes: ``id@version``."""
        return f"{self.id}@{self.version}"

    @property
    def rows(self) -> int | None:
        """Rows of all sets together, None if one has no count."""
        counts = [entry.rows for entry in self.entries]
        return None if None in counts else sum(count or 0 for count in counts)

    def rows_of(self, dataset: str) -> int | None:
        """Return the rows that the pack counts in a dataset, None if it does not."""
        name = dataset.removesuffix(_WHOLE_OPTION)
        return next(
            (e.rows for e in self.entries if e.dataset in (dataset, name)), None
        )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The sets as ``-d`` names them, with the options that the pack was given."""
        return tuple(
            entry.dataset + _WHOLE_OPTION
            if self.whole_turns and _may_have_turns(entry.dataset)
            else entry.dataset
            for entry in self.entries
        )

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) over the id, the version and every set with its count."""
        content = [self.id, self.version, [(e.dataset, e.rows) for e in self.entries]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def is_pack(text: str) -> bool:
    """Tell whether a text that names data means a pack."""
    return text.strip().casefold().startswith(PREFIX)


def pack_ids() -> list[str]:
    """Return the ids of the packs that the core ships."""
    names = [p.name for p in files(PACKAGE).joinpath(FOLDER).iterdir()]
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml"))


def load_pack(text: str) -> Pack:
    """Return the pack ``pack:NAME[@VERSION]``, ``pack:FILE`` or ``pack:PACKAGE:FILE``.

    Raises `UnknownNameError` with the nearest name, `DataError` for a file that is no
    pack, and `OptionError` for options or for a version that is not installed.
    """
    name = text.strip()[len(PREFIX) :].strip()
    for turns in ("all", "last"):
        if name.endswith(f",turns={turns}"):
            pack = load_pack(PREFIX + name.removesuffix(f",turns={turns}"))
            return replace(pack, whole_turns=turns == "all")
    if name.endswith(_SUFFIXES):
        return _pack_of_file(name)
    name, comma, _ = name.partition(",")
    if comma:
        raise OptionError(
            f"{text}: a pack takes turns=all and no other option; those of a dataset "
            "stand beside its name in a pack of yours (-d pack:./FILE.yaml)"
        )
    name, _, version = name.partition("@")
    ids = pack_ids()
    if name not in ids:
        raise unknown_name("pack", name, ids)
    resource = files(PACKAGE).joinpath(FOLDER, f"{name}.yaml")
    pack = _parse_pack(_read(resource, name), f"pack {name}", None)
    if version and version != pack.version:
        raise OptionError(
            f"{text}: version {pack.version} is installed; the sets of another one "
            "are in the manifest.json of a run that used it, and can be named by -d"
        )
    return pack


def expand_packs(texts: Iterable[str]) -> Iterator[tuple[str, Pack | None]]:
    """Yield the datasets that texts name, each with the pack that it stands in."""
    for text in texts:
        if not is_pack(text):
            yield text, None
            continue
        pack = load_pack(text)
        for dataset in pack.datasets:
            yield dataset, pack


def _may_have_turns(dataset: str) -> bool:
    """Tell whether a dataset may hold conversations whose last turn is a user's.

    Files and sets of the hub may, unless an option says that answers are judged; of
    sets by name those that are read from messages.
    """
    from .catalog import SPECS

    head, _, options = dataset.partition(",")
    given = {option.strip() for option in options.split(",")}
    if given & {f"task={task}" for task in RESPONSE_TASKS} or "turns=" in options:
        return False
    if "+" in head:
        return False
    if file_kind(head) or "/" in head:
        return True
    name = head.partition(":")[0].strip()
    return any(
        spec.recipe is not None and spec.recipe.messages and spec.name == name
        for spec in SPECS
        if spec.task not in RESPONSE_TASKS
    )


def _pack_of_file(name: str) -> Pack:
    path = Path(name).expanduser()
    package, colon, resource_path = name.partition(":")
    if not colon or path.exists():
        if not path.is_file():
            beside = path.parent.iterdir() if path.parent.is_dir() else ()
            names = sorted(p.name for p in beside if p.name.endswith(_SUFFIXES))
            raise DataError(f"no pack file {path}{did_you_mean(path.name, names)}")
        return _refuse_id(_parse_pack(_read(path, name), f"pack {name}", path.parent))
    try:
        resource = files(package).joinpath(resource_path)
    except (ModuleNotFoundError, TypeError, ValueError):
        raise DataError(f"pack {name}: no package {package!r} is installed") from None
    # a package in an archive has no folder that files could be read from
    folder = Path(str(resource)).parent if isinstance(resource, Path) else None
    return _refuse_id(_parse_pack(_read(resource, name), f"pack {name}", folder))


def _refuse_id(pack: Pack) -> Pack:
    """Return a user's pack; one that bears the name of ours would look like it."""
    if pack.id in pack_ids():
        raise DataError(
            f"pack {pack.id}: its id is that of a pack of safebench; give it an id of "
            "its own"
        )
    return pack


def _read(resource: Traversable, name: str) -> dict[str, Any]:
    try:
        return parse_yaml_mapping(resource.read_text(encoding="utf-8"), name)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DataError(f"no pack file {name}") from None
    except (OSError, UnicodeError) as error:
        raise DataError(f"pack {name}: {' '.join(str(error).split())}") from None


def _parse_pack(data: dict[str, Any], where: str, folder: Path | None) -> Pack:
    """Return the pack in a YAML document; paths of files are meant from `folder`."""
    if not data.keys() >= {"id", "version", "sets"}:
        raise DataError(
            f"{where}: expected id, version, sets (a list of datasets, or a mapping "
            "from each to its rows) and, if you like, summary"
        )
    for key in data:
        if key not in _KEYS:
            raise DataError(f"{where}: unknown key {key!r}{did_you_mean(key, _KEYS)}")
    pack_id, version = (str(data[key]).strip() for key in ("id", "version"))
    for key, value in (("id", pack_id), ("version", version)):
        # the parts of id@version in rows and notes, and of pack:NAME@VERSION
        if not value.isprintable() or not value or set(value) & set("@,: \\/"):
            raise DataError(
                f"{where}: {key} {value!r}: letters, digits, '-', '_' and '.' alone"
            )
    entries = tuple(_entries(data["sets"], where, folder))
    if not entries:
        raise DataError(f"{where}: its sets are empty")
    times = Counter(entry.dataset for entry in entries)
    if twice := [dataset for dataset, n in times.items() if n > 1]:
        raise DataError(f"{where}: named twice: {', '.join(twice)}")
    return Pack(pack_id, version, str(data.get("summary") or ""), entries)


def _entries(sets: Any, where: str, folder: Path | None) -> Iterator[PackEntry]:
    if isinstance(sets, list):
        pairs: list[tuple[Any, Any]] = [(dataset, None) for dataset in sets]
    elif isinstance(sets, dict):
        pairs = [*sets.items()]
    else:
        raise DataError(
            f"{where}: sets: expected a list of datasets, or a mapping from each to "
            "its rows"
        )
    for dataset, rows in pairs:
        if not isinstance(dataset, str) or not dataset.strip():
            raise DataError(f"{where}: sets: {dataset!r} names no dataset")
        if is_pack(dataset):
            raise DataError(f"{where}: {dataset}: a pack holds datasets, not packs")
        if rows is not None and (type(rows) is not int or rows < 1):
            raise DataError(f"{where}: {dataset}: {rows!r} is no number of rows")
        yield PackEntry(_from_folder(dataset.strip(), folder), rows)


def _from_folder(dataset: str, folder: Path | None) -> str:
    """Return a name in which a relative path is meant from the pack's folder."""
    head, comma, options = dataset.partition(",")
    if folder is None or folder == Path():
        return dataset
    if (folder / dataset).is_file():  # its name may have commas
        return str(folder / dataset)
    path = Path(head).expanduser()
    if not file_kind(head) or path.is_absolute():
        return dataset
    return f"{folder / path}{comma}{options}"
