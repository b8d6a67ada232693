"""Translate categories of one policy to those of another.

Taxonomies rarely match one to one. A map says for each source code whether it means one
target exactly, overlaps with some, or has no counterpart. What cannot be concluded from
that stays unknown and is masked, so that metrics do not count it as absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from safebench.errors import DataError

from .policy import read_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import GroundTruth
    from safebench.typing import Array

    from .policy import Policy

MAPPING_KINDS = ("exact", "partial", "missing")


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
    policy_map = find_map(source, target)
    if policy_map is None:
        nothing = np.zeros((len(truths), len(target.codes)), dtype=bool)
        note = f"no map from policy {source.id} to {target.id}"
        return Projection(nothing, nothing.copy(), None, note)
    positive, known = _positive_and_known(truths, source.codes)  # (n, S)
    annotated = np.array([truth.categories is not None for truth in truths], dtype=bool)
    single, several = _target_links(policy_map, source, target)  # (S, L)
    # Products of boolean matrices: "any source code with a link to the target that ..."
    gold = (positive & known) @ single
    undecided = (~known) @ single | (positive | ~known) @ several
    reachable = single.any(axis=0)
    mask = annotated[:, None] & reachable & (gold | ~undecided)
    return Projection(gold & mask, mask, policy_map.id, policy_map.note)


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
