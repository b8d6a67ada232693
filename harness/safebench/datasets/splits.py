"""Choose part of a dataset by whole groups: the calibration part, or a subsample.

Samples of a group (paraphrases, turns of one conversation, a pair) resemble each other.
Cutting through a group would leak the calibration part into the test part. Groups are
stratified by the classes that they hold, and ordered by hashes of their names rather
than by a random generator: adding a group does not reorder the others.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import OptionError
from safebench.record_columns import UNKNOWN

from .spooled_records import SpooledSamples, SpooledTruths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.record_columns import RecordColumns
    from safebench.records import Dataset
    from safebench.typing import Array


def calibration_ids(dataset: Dataset, fraction: float = 1 / 3) -> frozenset[str]:
    """Return the ids of the calibration part: at most `fraction` of each stratum.

    A group that would exceed the share is passed over: the test part has at least
    1 - `fraction` of the samples. There is no seed, so that every run on a dataset has
    the same test part. Raises `OptionError` for a fraction outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise OptionError(f"calibration fraction: from 0 to below 1, got {fraction}")
    import numpy as np

    columns = dataset.columns
    codes, strata, hashes = _groups_and_strata(columns)
    sizes = np.bincount(codes, minlength=len(strata))
    chosen = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        groups = np.flatnonzero(strata == stratum)
        # Rounding may put size * fraction just below a whole number.
        room = math.floor(int(sizes[groups].sum()) * fraction + 1e-9)
        groups = groups[np.argsort(hashes[groups], kind="stable")]
        for group, size in zip(groups.tolist(), sizes[groups].tolist(), strict=True):
            if size <= room:
                room -= size
                chosen[group] = True
            if not room:
                break
    held_out = chosen[codes].tolist()
    return frozenset(i for i, held in zip(columns.ids, held_out, strict=True) if held)


def _groups_and_strata(columns: RecordColumns) -> tuple[Array, Array, Array]:
    """Return the group of each sample (n,), and stratum and hash of each group (G,).

    A stratum is a set of classes, as bits; hashes sort as their hex digits do.
    """
    import numpy as np

    codes = columns.group_codes
    n_groups = int(codes.max(initial=-1)) + 1
    strata = np.zeros(n_groups, dtype=np.int8)
    for bit, value in enumerate((0, 1, UNKNOWN)):
        strata[codes[columns.value == value]] |= 1 << bit
    first = np.full(n_groups, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    digests = bytearray()
    wanted = np.zeros(len(codes), dtype=bool)
    wanted[first] = True
    order = codes[wanted]
    for group, is_first in zip(columns.groups, wanted.tolist(), strict=True):
        if is_first:
            digests += hashlib.sha256(group.encode()).digest()
    hashes = np.empty(n_groups, dtype="S32")
    hashes[order] = np.frombuffer(bytes(digests), dtype="S32")
    return codes, strata, hashes


def subsample(dataset: Dataset, n: int, seed: int = 0) -> Dataset:
    """Return at most `n` samples as whole groups, but at least one group.

    Groups of all strata are interleaved: a dataset sorted by class keeps both classes,
    and the subsample of a larger `n` contains that of a smaller. Raises `OptionError`
    for an `n` below 1.
    """
    if n < 1:
        raise OptionError(f"limit: at least 1, got {n}")
    selected: list[int] = []
    for rows in _interleave(stratify_groups(dataset), seed):
        if selected and len(selected) + len(rows) > n:
            break
        selected += rows
    return select_rows(dataset, sorted(selected))


def describe_lost_classes(
    dataset: Dataset, limited: Dataset, calibration: frozenset[str], seed: int = 0
) -> str:
    """Return a message about parts that a limit leaves without a class, or "".

    Parts are the calibration part (`calibration`, ids) and the rest, the test part.
    A class that the whole `dataset` lacks is not missed. The message names the smallest
    limit that leaves all classes that each part has: subsamples are nested.
    """
    if len(limited) == len(dataset):
        return ""
    wanted = _classes_by_part(dataset, range(len(dataset)), calibration)
    present = _classes_by_part(limited, range(len(limited)), calibration)
    classes = {value for _, value in wanted}
    lost = [
        (part, value)
        for part in ("test", *(("calibration",) if calibration else ()))
        for value in (True, False)
        if value in classes and (part, value) not in present
    ]
    if not lost:
        return ""
    what = " and ".join(
        f"no {'positive' if value else 'negative'} in the {part} part"
        for part, value in lost
    )
    if wanted.isdisjoint(lost):
        return f"--limit leaves {what}, nor has the whole set"
    n = _smallest_limit(dataset, wanted, calibration, seed)
    return f"--limit leaves {what}: --limit {n} takes what the set has there"


def _smallest_limit(
    dataset: Dataset,
    wanted: set[tuple[str, bool]],
    calibration: frozenset[str],
    seed: int,
) -> int:
    """Return the smallest limit whose subsample has the `wanted` (part, class)."""
    missing, n = set(wanted), 0
    for rows in _interleave(stratify_groups(dataset), seed):
        if not missing:
            break
        n += len(rows)
        missing -= _classes_by_part(dataset, rows, calibration)
    return n


def _classes_by_part(
    dataset: Dataset, rows: Iterable[int], calibration: frozenset[str]
) -> set[tuple[str, bool]]:
    """Return the (part, class) that some rows have, without unknown labels."""
    values, ids = dataset.columns.value.tolist(), dataset.columns.ids
    return {
        ("calibration" if ids[row] in calibration else "test", values[row] == 1)
        for row in rows
        if values[row] != UNKNOWN
    }


def select_rows(dataset: Dataset, rows: Sequence[int]) -> Dataset:
    """Return a dataset of some rows, samples and ground truth alike."""
    samples, truths = dataset.samples, dataset.ground_truth
    if isinstance(samples, SpooledSamples) and isinstance(truths, SpooledTruths):
        import numpy as np

        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            dataset, samples=samples.select(chosen), ground_truth=truths.select(chosen)
        )
    return replace(
        dataset,
        samples=[samples[row] for row in rows],
        ground_truth=[truths[row] for row in rows],
    )


def stratify_groups(dataset: Dataset) -> list[dict[str, list[int]]]:
    """Return the groups (name -> rows) of each stratum: those with the same classes.

    Classes are negative, positive and unknown.
    """
    columns = dataset.columns
    rows_by_group: dict[str, list[int]] = {}
    for row, group in enumerate(columns.groups):
        rows_by_group.setdefault(group, []).append(row)
    values = columns.value.tolist()
    strata: dict[frozenset[int], dict[str, list[int]]] = {}
    for group, rows in rows_by_group.items():
        classes = frozenset(values[row] for row in rows)
        strata.setdefault(classes, {})[group] = rows
    return list(strata.values())


def _interleave(strata: Sequence[dict[str, list[int]]], seed: int) -> list[list[int]]:
    """Return the rows of all groups so that every prefix has about the strata's mix."""
    positions: list[tuple[float, str, list[int]]] = []
    for groups in strata:
        ordered = sorted(groups, key=lambda group: _group_hash(group, seed))
        for i, group in enumerate(ordered):
            # Spread each stratum evenly over (0, 1), then merge by position.
            position = (i + 0.5) / len(groups)
            positions.append((position, _group_hash(group, seed), groups[group]))
    return [rows for _, _, rows in sorted(positions)]


def _group_hash(group: str, seed: int | None = None) -> str:
    text = group if seed is None else f"{seed}\x1f{group}"
    return hashlib.sha256(text.encode()).hexdigest()
