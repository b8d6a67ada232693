"""A policy, a taxonomy of harm: codes, names and short definitions, read from YAML."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.config_file import parse_yaml_mapping
from safebench.errors import DataError, OptionError, did_you_mean, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable


_SUFFIXES = (".yaml", ".yml")
_NO_FOLDER = "safebench.policies:"  # maps are looked for among the core's


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of harm; `code` is what guards and annotators write."""

    code: str
    name: str
    definition: str


@dataclass(frozen=True)
class Policy:
    """A versioned taxonomy.

    `source` says where the names of the categories were read; definitions are in words
    of their own. `resource_folder` (``package:folder``) is where its file lies: maps to
    other policies are looked for beside it.
    """

    id: str
    version: str
    categories: tuple[Category, ...]
    source: str = field(default="", compare=False)
    resource_folder: str = field(default="safebench.policies:", compare=False)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes in the order of the file, which is that of columns everywhere."""
        return tuple(category.code for category in self.categories)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over id, version and every category."""
        parts = [self.id, self.version]
        for category in self.categories:
            parts += [category.code, category.name, category.definition]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


_OF_FILES: dict[str, Policy] = {}  # by id, as far as this process has read them


@cache
def load_policy(id: str) -> Policy:  # noqa: A002 - the field it is stored under
    """Return a policy: the core's by id, others by ``package:path.yaml`` or a path.

    Raises `UnknownNameError` with the nearest id, `DataError` for a bad resource.
    """
    if id.endswith(_SUFFIXES) and (":" not in id or Path(id).expanduser().exists()):
        return _policy_of_file(id)
    if id in _OF_FILES:
        return _OF_FILES[id]
    package, colon, path = id.partition(":")
    if not colon:
        names = policy_ids()
        if id not in names:
            raise unknown_name("policy", id, names)
        package, path = "safebench.policies", f"{id}.yaml"
    folder = path.rpartition("/")[0]
    return _parse_policy(read_yaml(package, path), id, f"{package}:{folder}")


def policy_ids() -> list[str]:
    """Return the ids of the policies that the core ships."""
    names = [p.name for p in files("safebench.policies").iterdir()]
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml"))


def _policy_of_file(name: str) -> Policy:
    """Return a user's policy, which can then be loaded by its id.

    Results name policies by id: a path says little on another machine.
    """
    policy = _parse_policy(read_policy_file(Path(name).expanduser()), name, _NO_FOLDER)
    if policy.id in policy_ids():
        raise DataError(
            f"policy {name}: its id {policy.id!r} is that of a policy of safebench; "
            "give it an id of its own"
        )
    _OF_FILES[policy.id] = policy
    return policy


def read_policy_file(path: Path) -> Any:
    """Return the content of a user's YAML file; raise `DataError` if it is not there.

    The nearest file beside it is named.
    """
    try:
        return parse_yaml_mapping(path.read_text(encoding="utf-8"), f"policy {path}")
    except OptionError as error:
        raise DataError(error.message) from None
    except FileNotFoundError:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        names = (p.name for p in beside if p.name.endswith(_SUFFIXES))
        hint = did_you_mean(path.name, names)
        raise DataError(f"no policy file {path}{hint}") from None
    except (OSError, UnicodeError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"policy {path}: {problem}") from None


def read_yaml(package: str, path: str) -> Any:
    """Return the content of a YAML resource; raise `DataError` if it is not there."""
    try:
        resource: Traversable = files(package).joinpath(path)
        text = resource.read_text(encoding="utf-8")
    except (ModuleNotFoundError, OSError, UnicodeError) as error:
        problem = str(error).strip().splitlines()[0]
        raise DataError(f"no policy data in {package}:{path} ({problem})") from None
    try:
        return parse_yaml_mapping(text, f"{package}:{path}")
    except OptionError as error:
        raise DataError(error.message) from None


def _parse_policy(data: Any, where: str, resource_folder: str) -> Policy:
    try:
        categories = tuple(
            Category(str(code), entry["name"], entry["definition"])
            for code, entry in data["categories"].items()
        )
        _check_codes(data["categories"], where)
        version = str(data["version"])
        source = str(data.get("source") or "")
        policy = Policy(data["id"], version, categories, source, resource_folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"policy {where}: expected id, version and categories with name and "
            f"definition ({type(error).__name__}: {error})"
        ) from None
    _check_texts(policy, where)
    return policy


def _check_texts(policy: Policy, where: str) -> None:
    """Raise `DataError` for what is no text, or reads like another in a table."""
    labels = {"id": policy.id}
    for category in policy.categories:
        labels[f"code {category.code!r}"] = category.code
        name = category.name  # a folded text of YAML ends in a line feed
        name = name.strip() if isinstance(name, str) else name
        labels[f"name of {category.code!r}"] = name
        if not isinstance(category.definition, str):
            raise DataError(
                f"policy {where}: definition of {category.code!r} is no text, but "
                f"{category.definition!r:.60}"
            )
    for what, text in labels.items():
        if not isinstance(text, str):
            raise DataError(
                f"policy {where}: {what} is no text, but {text!r:.60}: put it in quotes"
            )
        if not text or text != text.strip() or not text.isprintable():
            raise DataError(
                f"policy {where}: {what}: {text!r:.60} is no single line without "
                "spaces around it"
            )


def _check_codes(codes: Iterable[Any], where: str) -> None:
    """Raise `DataError` for a code that YAML reads as something else than its text.

    1.10 is 1.1, and `no` is false: rows and guards would name another code.
    """
    for code in codes:
        if not isinstance(code, (str, int)) or isinstance(code, bool):
            raise DataError(
                f"policy {where}: YAML reads a code as {code!r}: put codes in quotes"
            )
