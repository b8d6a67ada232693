"""What `list` shows of data that comes with safebench: packs, policies and maps."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safebench.console import echo
from safebench.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class DataListing:
    """How one kind is listed: its records, and the lines that say one in short.

    `details` are lines that follow where one record is asked for by its name.
    """

    what: str
    records: Callable[[], Iterator[dict[str, Any]]]
    lines: Callable[[Mapping[str, Any]], Iterator[str]]
    details: Callable[[Mapping[str, Any]], Iterator[str]]

    def show(self, name: str | None, *, as_json: bool) -> None:
        """Print all of them, or the one of a name.

        Raises `UnknownNameError` with the nearest name.
        """
        records = {record["name"]: record for record in self.records()}
        if name is not None and name not in records:
            raise unknown_name(self.what, name, records)
        for record in [records[name]] if name is not None else records.values():
            if as_json:
                echo(json.dumps(record))
                continue
            for line in self.lines(record):
                echo(line)
            if name is not None:
                for line in self.details(record):
                    echo(line)


def _pack_records() -> Iterator[dict[str, Any]]:
    from safebench.datasets.pack import PREFIX, load_pack, pack_ids

    for pack_id in pack_ids():
        pack = load_pack(PREFIX + pack_id)
        yield {
            "name": pack.id,
            "version": pack.version,
            "summary": pack.summary,
            "rows": pack.rows,
            "sets": {entry.dataset: entry.rows for entry in pack.entries},
            "sha256": pack.sha256,
        }


def _pack_lines(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"pack:{record['name']}  (version {record['version']})"
    yield f"  {record['summary']}"
    n_sets = len(record["sets"])
    total = "" if record["rows"] is None else f", {record['rows']:,} rows"
    yield f"  {n_sets} {'set' if n_sets == 1 else 'sets'}{total}"
    for dataset, rows in record["sets"].items():
        yield f"    {'?' if rows is None else format(rows, ','):>7}  {dataset}"


def _no_details(_: Mapping[str, Any]) -> Iterator[str]:
    return iter(())


def _policy_records() -> Iterator[dict[str, Any]]:
    from safebench.policies import load_policy
    from safebench.policies.mapping import map_ids
    from safebench.policies.policy import policy_ids

    maps = map_ids()
    for policy_id in policy_ids():
        policy = load_policy(policy_id)
        yield {
            "name": policy.id,
            "version": policy.version,
            "source": policy.source,
            "categories": [asdict(category) for category in policy.categories],
            "maps_to": [target for source, target, _ in maps if source == policy.id],
            "maps_from": [source for source, target, _ in maps if target == policy.id],
            "sha256": policy.hash,
        }


def _policy_lines(record: Mapping[str, Any]) -> Iterator[str]:
    n = len(record["categories"])
    yield f"{record['name']}  (version {record['version']}, {n} categories)"
    yield f"  names from: {record['source']}"
    for key, words in (("maps_to", "maps to"), ("maps_from", "maps from")):
        if record[key]:
            yield f"  {words}: {', '.join(record[key])}"


def _policy_details(record: Mapping[str, Any]) -> Iterator[str]:
    for category in record["categories"]:
        yield f"  {category['code']}: {category['name']}"
        yield f"    {category['definition']}"


def _map_records() -> Iterator[dict[str, Any]]:
    from safebench.policies import load_policy
    from safebench.policies.mapping import MAPPING_KINDS, find_map, map_ids

    for source, target, version in map_ids():
        policy_map = find_map(load_policy(source), load_policy(target))
        assert policy_map is not None
        kinds = Counter[str](entry.kind for entry in policy_map.entries.values())
        yield {
            "name": policy_map.id,
            "source": source,
            "target": target,
            "version": version,
            **{kind: kinds[kind] for kind in MAPPING_KINDS},
            "entries": {
                code: {"kind": entry.kind, "targets": [*entry.targets]}
                for code, entry in policy_map.entries.items()
            },
        }


def _map_lines(record: Mapping[str, Any]) -> Iterator[str]:
    counts = f"{record['exact']} exact, {record['partial']} partial"
    yield f"{record['name']}  ({counts}, {record['missing']} missing)"


def _map_details(record: Mapping[str, Any]) -> Iterator[str]:
    from safebench.policies import load_policy

    source, target = (load_policy(record[key]) for key in ("source", "target"))
    names = {c.code: c.name for c in source.categories}
    of_target = {c.code: c.name for c in target.categories}
    for code, entry in record["entries"].items():
        means = (_code_and_name(t, of_target[t]) for t in entry["targets"])
        yield f"  {_code_and_name(code, names[code])}"
        yield f"    {entry['kind']}: {', '.join(means) or 'no counterpart'}"


def _code_and_name(code: str, name: str) -> str:
    return code if code == name else f"{code} {name}"


DATA_KINDS = {
    "packs": DataListing("pack", _pack_records, _pack_lines, _no_details),
    "policies": DataListing("policy", _policy_records, _policy_lines, _policy_details),
    "maps": DataListing("map", _map_records, _map_lines, _map_details),
}
