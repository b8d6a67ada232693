"""A policy, a taxonomy of harm: codes, names and short definitions, read from YAML."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, unknown_name

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of harm; `code` is what guards and annotators write."""

    code: str
    name: str
    definition: str


@dataclass(frozen=True)
class Policy:
    """A versioned taxonomy.

    `resource_folder` (``package:folder``) is where its file lies: maps to other
    policies are looked for beside it.
    """

    id: str
    version: str
    categories: tuple[Category, ...]
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


@cache
def load_policy(id: str) -> Policy:  # noqa: A002 - the field it is stored under
    """Return a policy of the core by id, or a plugin's by ``package.module:path.yaml``.

    Raises `UnknownNameError` with the nearest id, `DataError` for a bad resource.
    """
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


def read_yaml(package: str, path: str) -> Any:
    """Return the content of a YAML resource; raise `DataError` if it is not there."""
    import yaml

    try:
        resource: Traversable = files(package).joinpath(path)
        return yaml.safe_load(resource.read_text(encoding="utf-8"))
    except (ModuleNotFoundError, FileNotFoundError, yaml.YAMLError) as error:
        problem = str(error).strip().splitlines()[0]
        raise DataError(f"no policy data in {package}:{path} ({problem})") from None


def _parse_policy(data: Any, where: str, resource_folder: str) -> Policy:
    try:
        categories = tuple(
            Category(str(code), entry["name"], entry["definition"])
            for code, entry in data["categories"].items()
        )
        version = str(data["version"])
        return Policy(data["id"], version, categories, resource_folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"policy {where}: expected id, version and categories with name and "
            f"definition ({type(error).__name__}: {error})"
        ) from None
