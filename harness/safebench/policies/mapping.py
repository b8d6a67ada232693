"""Translate categories of one policy to those of another.

Taxonomies rarely match one to one. A map says for each source code whether it means one
target exactly, overlaps with some, or has no counterpart. What cannot be concluded from
that stays unknown and is masked, so that metrics do not count it as absent.

Where no map leads from one to the other, two are composed by way of `PIVOT`, the
taxonomy that most policies have a map to and from.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from safebench.errors import DataError

from .policy import load_policy, read_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import GroundTruth
    from safebench.typing import Array

    from .policy import Policy

MAPPING_KINDS = ("exact", "partial", "missing")
PIVOT = "llama-guard-3"


@dataclass(frozen=True, slots=True)
class CategoryMapping:
    """The counterparts of a source code: `exact`, `partial` (overlap) or `missing`."""

    targets: tuple[str, ...]
    kind: Literal["exact", "partial", "missing"]


@dataclass(frozen=True, slots=True)
class PolicyMap:
    """A versioned map from the codes of policy `source` to those of `target`."""

    source: str
    target: str
    version: int
    entries: dict[str, CategoryMapping]

    @property
    def id(self) -> str:
        """The name for result rows: ``source__target@version``."""
        return f"{self.source}__{self.target}@{self.version}"

    @property
    def note(self) -> str:
        """Say which codes the map covers in part or not at all, for a footnote."""
        partial = [code for code, e in self.entries.items() if e.kind == "partial"]
        missing = [code for code, e in self.entries.items() if e.kind == "missing"]
        parts = [f"{len(partial)} partial"] if partial else []
        parts += [f"no counterpart for {', '.join(missing)}"] if missing else []
        return "; ".join(parts)


class Projection(NamedTuple):
    """Ground truth in the categories of another policy.

    `gold` and `mask` are boolean, (n samples, L target codes); `mask` is False where
    the truth is unknown. Without a map, `map_id` is None, nothing is known, and `note`
    says why.
    """

    gold: Array
    mask: Array
    map_id: str | None
    note: str


class Links(NamedTuple):
    """What a true source code says about target codes, both boolean (S, L).

    `single`: this target applies. `several`: it may. `map_id` and `note` are those of
    the map, or of both maps that were composed.
    """

    single: Array
    several: Array
    map_id: str
    note: str


def find_links(source: Policy, target: Policy) -> Links | None:
    """Return the links of the map between two policies, composed if there is none.

    None if there is no way from one to the other.
    """
    direct = find_map(source, target)
    if direct is not None:
        single, several = _target_links(direct, source, target)
        return Links(single, several, direct.id, direct.note)
    if PIVOT in (source.id, target.id):
        return None
    pivot = load_policy(PIVOT)
    first, second = find_map(source, pivot), find_map(pivot, target)
    if first is None or second is None:
        return None
    return _compose(first, second, source, pivot, target)


def _compose(
    first: PolicyMap, second: PolicyMap, source: Policy, pivot: Policy, target: Policy
) -> Links:
    """Return what a source code says about the target by way of the pivot.

    A code with several codes of the pivot means one target only if each of them means
    that one. A code that has not exactly one code there is something that the pivot
    cannot say: where it is true, no other target is known to be absent.
    """
    import numpy as np

    to_pivot, maybe_pivot = _target_links(first, source, pivot)
    from_pivot, maybe_target = _target_links(second, pivot, target)
    single = to_pivot @ from_pivot
    several = to_pivot @ maybe_target
    several[~to_pivot.any(axis=1)] = True
    for row in np.flatnonzero(maybe_pivot.any(axis=1)):
        single[row] = from_pivot[maybe_pivot[row]].all(axis=0)
    note = f"by way of {pivot.id}: {first.note or 'all codes exact'}"
    if second.note:
        note += f"; from there: {second.note}"
    return Links(single, several & ~single, f"{first.id}+{second.id}", note)


def map_ids() -> list[tuple[str, str, int]]:
    """Return (source, target, version) of the newest map between any two policies.

    Those of the core, in the order of their names.
    """
    newest: dict[tuple[str, str], int] = {}
    for resource in files("safebench.policies").joinpath("maps").iterdir():
        stem, _, version = resource.name.removesuffix(".yaml").rpartition("@")
        source, separator, target = stem.partition("__")
        if separator and version.isdigit():
            pair = (source, target)
            newest[pair] = max(newest.get(pair, 0), int(version))
    return [(*pair, version) for pair, version in sorted(newest.items())]


def find_map(source: Policy, target: Policy) -> PolicyMap | None:
    """Return the newest map between two policies, or None.

    Maps are files in a folder ``maps`` beside the file of either policy: a plugin can
    bring a policy with maps to and from those of the core.
    """
    stem = f"{source.id}__{target.id}@"
    for resource in dict.fromkeys((source.resource_folder, target.resource_folder)):
        package, _, folder = resource.partition(":")
        path = f"{folder}/maps".strip("/")
        maps = files(package).joinpath(path)
        names = [p.name for p in maps.iterdir()] if maps.is_dir() else []
        versions = [
            int(version)
            for name in names
            if (version := name.removeprefix(stem).removesuffix(".yaml")).isdigit()
        ]
        if versions:
            newest = max(versions)  # as numbers: 10 is newer than 9
            return _parse_map(
                package, f"{path}/{stem}{newest}.yaml", source, target, newest
            )
    return None


def _parse_map(
    package: str, path: str, source: Policy, target: Policy, version: int
) -> PolicyMap:
    data = read_yaml(package, path)
    entries = {str(code): _parse_entry(path, code, raw) for code, raw in data.items()}
    mapped = {code for entry in entries.values() for code in entry.targets}
    # A map must name every source code, so that none is forgotten in silence.
    wrong = (entries.keys() ^ set(source.codes)) | (mapped - set(target.codes))
    if wrong:
        raise DataError(f"policy map {path}: codes missing or unknown: {sorted(wrong)}")
    return PolicyMap(source.id, target.id, version, entries)


def _parse_entry(path: str, code: object, raw: Any) -> CategoryMapping:
    if raw == "missing":
        return CategoryMapping((), "missing")
    if isinstance(raw, dict) and len(raw) == 1:
        ((kind, value),) = raw.items()
        codes = tuple(map(str, value if isinstance(value, list) else [value]))
        if kind == "exact" and len(codes) > 1:
            raise DataError(
                f"policy map {path}: {code}: exact names one code; of {len(codes)} it "
                "is partial"
            )
        if len({*codes}) < len(codes):
            raise DataError(f"policy map {path}: {code}: a code is named twice")
        if kind in MAPPING_KINDS[:2] and codes:
            return CategoryMapping(codes, kind)
    raise DataError(f"policy map {path}: {code}: expected exact, partial or missing")


def project(
    truths: Sequence[GroundTruth], source: Policy, target: Policy
) -> Projection:
    """Return ground truth categories in the target's codes, and what is known of them.

    A target with several source codes is true if any of them is, and unknown if none is
    true but some are unknown. A source code with several targets, where it is true,
    says only that one of them applies: they are unknown unless another code makes them
    true. Unknown, too, is a target that no source code has as its only one, and
    everything about a sample without annotations.
    """
    import numpy as np

    if source.id == target.id:
        positive, known = _positive_and_known(truths, target.codes)
        return Projection(positive & known, known, "identity", "")
    links = find_links(source, target)
    if links is None:
        nothing = np.zeros((len(truths), len(target.codes)), dtype=bool)
        note = f"no map from policy {source.id} to {target.id}"
        return Projection(nothing, nothing.copy(), None, note)
    positive, known = _positive_and_known(truths, source.codes)  # (n, S)
    annotated = np.array([truth.categories is not None for truth in truths], dtype=bool)
    single, several = links.single, links.several
    # Products of boolean matrices: "any source code with a link to the target that ..."
    gold = (positive & known) @ single
    undecided = (~known) @ single | (positive | ~known) @ several
    reachable = single.any(axis=0)
    mask = annotated[:, None] & reachable & (gold | ~undecided)
    return Projection(gold & mask, mask, links.map_id, links.note)


def _positive_and_known(
    truths: Sequence[GroundTruth], codes: Sequence[str]
) -> tuple[Array, Array]:
    """Return which codes are annotated as true and which are known, both (n, S) bool.

    Codes outside `codes` are ignored.
    """
    import numpy as np

    column = {code: i for i, code in enumerate(codes)}
    positive = np.zeros((len(truths), len(codes)), dtype=bool)
    known = np.zeros_like(positive)
    for row, truth in enumerate(truths):
        if truth.categories is None:
            continue
        positive[row, [column[c] for c in truth.categories if c in column]] = True
        if truth.known is None:
            known[row] = True
        else:
            known[row, [column[c] for c in truth.known if c in column]] = True
    return positive, known


def _target_links(
    policy_map: PolicyMap, source: Policy, target: Policy
) -> tuple[Array, Array]:
    """Return (S, L) links of codes with a single target, and of codes with several."""
    import numpy as np

    single = np.zeros((len(source.codes), len(target.codes)), dtype=bool)
    several = np.zeros_like(single)
    for row, code in enumerate(source.codes):
        targets = policy_map.entries[code].targets
        links = single if len(targets) == 1 else several
        links[row, [target.codes.index(c) for c in targets]] = True
    return single, several
