"""What a combination would have cost, from the traces that its parts left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.evidence.shard_file import read_header
from safebench.results.packed_columns import GroupNames, TextCollector, codes_of_both
from safebench.results.run_files import EVIDENCE_FOLDER
from safebench.results.stored_columns import SharedValues

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.results import Row
    from safebench.results.prediction_reading import PredictionFile
    from safebench.typing import Array, Floats

    from .part_columns import PartColumns

NAMES = ("seconds", "forward_passes", "tokens")


class SampleCosts(NamedTuple):
    """Costs of the evidence of n samples, (n,) float each, or why they are not known.

    `key` names the evidence: parts that read the same are paid once.
    """

    key: str
    columns: dict[str, Floats]
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinationCost:
    """What the samples of a test part would have cost; None where not known.

    `escalated` is the share of samples that more than the first part judges, None
    where every part judges every sample.
    """

    n: int
    seconds: float | None
    forward_passes: float | None
    tokens: float | None
    escalated: float | None
    unknown: str = ""


def sample_costs(
    file: PredictionFile, row: Row | None, columns: PartColumns
) -> SampleCosts:
    """Return what the evidence of each sample took to record.

    `row` is any result row of the file. A trace is found by the text that was judged.
    """
    if row is None or row.evidence_key is None:
        return SampleCosts(str(file.path), {}, f"{file.label} has no results")
    key = row.evidence_key
    traces = _Traces.read(file.run / EVIDENCE_FOLDER / key)
    if traces is None:
        reason = f"the evidence of {file.label} is not in {file.run}"
        return SampleCosts(key, {}, reason)
    costs = traces.costs(columns)
    n_unknown = int(np.isnan(costs["seconds"]).sum())
    if n_unknown:
        reason = f"{n_unknown} samples of {file.label} have no evidence of their own"
        return SampleCosts(key, {}, reason)
    return SampleCosts(key, costs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Traces:
    """The costs (m,) of m recordings, and the text and the task ("": any) of each."""

    contents: Sequence[str]
    task: Sequence[str]
    columns: dict[str, Floats]

    @classmethod
    def read(cls, folder: Path) -> _Traces | None:
        """Read an evidence folder; None if there are none.

        Evidence of several probes is not added up: a strategy may read one of them.
        """
        probes = [path for path in sorted(folder.glob("*")) if path.is_dir()]
        if len(probes) != 1:
            return None
        contents, task = TextCollector(hashes=True), SharedValues()
        columns: dict[str, list[Array]] = {name: [np.empty(0)] for name in NAMES}
        for shard in sorted(probes[0].glob("*.npz")):  # later ones were recorded anew
            header = read_header(shard)
            if header is None:
                return None
            names = [question.split(":") for question in header["questions"]]
            contents.add([content for content, *_ in names])
            task.add([rest[-1] if len(rest) > 1 else "" for _, *rest in names])
            of = {name: np.array(values) for name, values in header["traces"].items()}
            for name in ("seconds", "forward_passes"):
                columns[name].append(of[name].astype(float))
            tokens = of["tokens_in"] + of["tokens_out"]
            columns["tokens"].append(tokens.astype(float))
        return cls(
            contents=contents.packed(),
            task=task.column(),
            columns={name: np.concatenate(of) for name, of in columns.items()},
        )

    def costs(self, columns: PartColumns) -> dict[str, Floats]:
        """Return the costs of samples, (n,) each, NaN where there is no trace.

        And where there are several: a text may be judged in more than one role.
        """
        codes = codes_of_both(self.contents, columns.content)
        of_trace, of_sample = codes[: len(self.contents)], codes[len(self.contents) :]
        size = int(codes.max(initial=-1)) + 1
        costs = {name: np.full(len(columns), np.nan) for name in NAMES}
        for task in dict.fromkeys(columns.task):
            asked = np.array([x == task for x in columns.task], dtype=bool)
            count, last = np.zeros(size, dtype=int), np.full(size, -1)
            for name in dict.fromkeys(("", task)):
                among = np.flatnonzero([x == name for x in self.task])
                count[np.unique(of_trace[among])] += 1
                last[of_trace[among]] = among
            rows = np.flatnonzero(asked & (count[of_sample] == 1))
            for name, column in self.columns.items():
                costs[name][rows] = column[last[of_sample[rows]]]
        return costs


def combined_cost(
    costs: Sequence[SampleCosts],
    rows: Sequence[Row | None],
    asked: Array,
    counted: Array,
    contents: Sequence[str],
    *,
    whole: bool,
    cascade: bool,
) -> CombinationCost:
    """Return the cost of asking parts about samples, `asked` (K, n) bool.

    A text of `contents` (n) that occurs twice is recorded once, as in result rows.
    `counted` (n,) bool are those of the test part. Without traces, costs are those of
    the `rows` where every part judges all samples that its row is about (`whole`).
    """
    n = int(counted.sum())
    escalated = None
    if cascade and n:
        escalated = float(np.mean(asked[1, counted]))
    unknown = "; ".join(dict.fromkeys(cost.unknown for cost in costs if cost.unknown))
    if not unknown:
        # evidence that two parts read was recorded once
        by_key: dict[str, tuple[SampleCosts, Array]] = {}
        for cost, judged in zip(costs, asked, strict=True):
            before = by_key.get(cost.key, (cost, np.zeros_like(judged)))[1]
            by_key[cost.key] = (cost, before | judged)
        totals: dict[str, Any] = {
            name: float(
                sum(
                    cost.columns[name][_first_of_each(contents, judged & counted)].sum()
                    for cost, judged in by_key.values()
                )
            )
            for name in NAMES
        }
        return CombinationCost(n=n, escalated=escalated, **totals)
    known = [row for row in rows if row is not None and row.cost_shared_with is None]
    if len(known) < len(rows) or not whole or not asked.all():
        nothing: dict[str, Any] = dict.fromkeys(NAMES)
        return CombinationCost(n=n, escalated=escalated, unknown=unknown, **nothing)
    once = {row.evidence_key: row for row in known}.values()
    sums = {name: [getattr(row, name) for row in once] for name in NAMES}
    totals_of_rows: dict[str, Any] = {
        name: None if None in values else float(sum(values))
        for name, values in sums.items()
    }
    return CombinationCost(n=n, escalated=escalated, **totals_of_rows)


def _first_of_each(contents: Sequence[str], rows: Array) -> Array:
    """Return the first of the `rows` (n,) bool of each text, as row numbers."""
    places = np.flatnonzero(rows)
    codes = GroupNames(contents).codes[places]
    return places[np.sort(np.unique(codes, return_index=True)[1])]
