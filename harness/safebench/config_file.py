"""Options in a YAML or JSON file beneath the flags of a command (JSON is YAML).

`run`, `train` and the commands of plugins read their ``--config`` here: one way to
name a key, one message for a key that nobody knows, one rule for which value wins.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from .errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

YAML_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class OptionFile:
    """The keys and values of a file of options; an empty file has none."""

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises `OptionError` if it is not there (naming the nearest), no YAML or no
        mapping, and for a key that occurs twice: YAML would take the last one in
        silence.
        """
        if not path.is_file():
            beside = path.parent.iterdir() if path.parent.is_dir() else ()
            hint = did_you_mean(
                path.name, (p.name for p in beside if p.suffix in YAML_SUFFIXES)
            )
            raise OptionError(f"no configuration file {path}{hint}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise OptionError(f"{path} is no YAML: {error}") from None
        return cls(path, parse_yaml_mapping(text, path))

    def options(
        self, known: Collection[str], aliases: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return the values by option: that of ``max-failures`` under max_failures.

        Raises `OptionError` for a key that is neither in `known` nor one of its
        `aliases`, with the nearest of both and with all that are `known`.
        """
        accepted = [*known, *aliases]
        values = {key.replace("-", "_"): value for key, value in self.content.items()}
        # A file that has both spellings would lose one of the two values.
        for key in self.content:
            name = key.replace("-", "_")
            if name != key and name in self.content:
                raise OptionError(f"{self.path}: {key!r} and {name!r} are one key")
        for key in values:
            if key not in accepted:
                hint = did_you_mean(key, accepted)
                listed = ", ".join(sorted(known))
                raise OptionError(
                    f"{self.path}: unknown key {key!r}{hint}\n  keys: {listed}"
                )
        return values


def parse_yaml_mapping(text: str, where: Path | str) -> dict[str, Any]:
    """Return the keys and values of a YAML text; `where` names it in messages.

    Raises `OptionError` as `OptionFile.read` does.
    """
    import yaml

    try:
        content = deepcopy(_parse_yaml(text, str(where)))
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"{where} is no YAML: {problem}") from None
    if not isinstance(content, (dict, type(None))):
        kind = type(content).__name__
        raise OptionError(f"{where}: expected keys and values, got {kind}")
    return {str(key): value for key, value in (content or {}).items()}


# One run reads the same map of categories for every strategy, and parsing YAML is slow.
@lru_cache(maxsize=64)
def _parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds; callers copy it before they change it."""
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        _refuse_repeated_keys(where, root)
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _refuse_repeated_keys(path: str, root: Any) -> None:
    """Raise `OptionError` for a mapping with two keys of one name; `root` is a node."""
    import yaml

    nodes, seen = [root], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias of a node above
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            nodes += [value for _, value in node.value]
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            names = [key.value for key in keys]
            for i, key in enumerate(keys):
                if names[i] in names[:i]:
                    line = key.start_mark.line + 1
                    raise OptionError(
                        f"{path}:{line}: the key {key.value!r} occurs twice"
                    )


def merge_flags(
    file_values: Mapping[str, Any],
    flags: Mapping[str, Any],
    mappings: Collection[str] = (),
) -> dict[str, Any]:
    """Return the values of a file with those of flags on top.

    A flag that is None or empty was not given. Options in `mappings` hold keys of their
    own (``--set``, ``--label-map``), which join those of the file one by one.
    """
    given = {name: value for name, value in flags.items() if is_given(value)}
    merged = {**file_values, **given}
    for name in mappings:
        if name in given:
            merged[name] = file_values.get(name, {}) | given[name]
    return merged


def is_given(value: Any) -> bool:
    """Tell whether a flag was typed: click has None or () for one that was not."""
    return value not in (None, (), {})


def parse_key_values(pairs: Iterable[str], where: str) -> dict[str, str]:
    """Return ``key=value`` texts as a mapping; `where` names them in messages.

    Raises `OptionError` for a text without a key and for a key that is given twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name = key.strip()
        if not equals or not name:
            raise OptionError(f"{where!r}: expected key=value, got {pair!r}")
        if name in values:
            raise OptionError(f"{where!r}: {name!r} is given twice")
        values[name] = value.strip()
    return values


def parse_training_arguments(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the ``key=value`` texts of ``--set``, each value read as YAML."""
    import yaml

    values = parse_key_values(list(texts), "--set")
    try:
        return {k: _parse_number(yaml.safe_load(text)) for k, text in values.items()}
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"--set: {problem}") from None


def _parse_number(value: Any) -> Any:
    # To YAML 1.1, ``1e-5`` is text: it wants a point, as in 1.0e-5.
    if isinstance(value, str) and any(map(str.isdigit, value)):
        try:
            return float(value)
        except ValueError:
            return value
    return value
