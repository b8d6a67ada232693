"""What trees cost above reading the prompts: ``python benchmarks/speed/floor.py``.

On the starter set with the embedded guard, one thread, CPU time: the full and the lean
record (the default) by one prefill a prompt, with the prefix that all prompts share
read before. A ratio is taken within each round; medians over rounds, with the lowest
and the highest.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).parents[1] / "results" / "floor-cpu.json"
RECORDS = ("full", "lean")


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--prompts", default=550, show_default=True, help="Of the starter set.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(rounds: int, prompts: int, out: Path) -> None:
    """Print the ratios, and write them as JSON."""
    import torch  # noqa: PLC0415 - --help stays light

    torch.set_num_threads(1)
    guards = {record: _guard(record) for record in RECORDS}
    ids = _prompts(guards["full"], prompts)
    readings: dict[str, list[tuple[float, int]]] = {}
    for _ in range(rounds):
        for name, work in _work(guards, ids).items():
            readings.setdefault(name, []).append(work())
    floor = [seconds for seconds, _ in readings["prefill"]]
    report: dict[str, Any] = {
        "prompts": len(ids),
        "rounds": rounds,
        "prefill_seconds": round(median(floor), 3),
    }
    for name in ("prefill", *RECORDS):
        ratios = [
            s / least for (s, _), least in zip(readings[name], floor, strict=True)
        ]
        report[name] = {
            "ratio": round(median(ratios), 2),
            "lowest": round(min(ratios), 2),
            "highest": round(max(ratios), 2),
            "passes": readings[name][0][1],
        }
    both = zip(readings["lean"], readings["full"], strict=True)
    report["lean_by_full"] = round(median(a / b for (a, _), (b, _) in both), 3)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(report, indent=2))


def _guard(record: str) -> Any:
    from safebench_llamaguard_marginal import GuardOptions  # noqa: PLC0415
    from safebench_llamaguard_marginal.classifier import LlamaGuard  # noqa: PLC0415

    return LlamaGuard(GuardOptions(record=record))  # type: ignore[arg-type]


def _prompts(guard: Any, count: int) -> list[Sequence[int]]:
    """Return the token ids of prompts of the starter set, spread over it."""
    from safebench import Plugins  # noqa: PLC0415
    from safebench.datasets import load_dataset, resolve_dataset  # noqa: PLC0415

    samples = load_dataset(resolve_dataset("starter", Plugins())).samples
    samples = samples[:: max(1, len(samples) // count)][:count]
    built = (guard.prompt_builder.build(sample) for sample in samples)
    return [prompt.ids for made in built for prompt in made.prompts]


def _work(
    guards: dict[str, Any], prompts: list[Sequence[int]]
) -> dict[str, Callable[[], tuple[float, int]]]:
    """Return what is measured: CPU seconds and passes of each."""

    def prefill() -> tuple[float, int]:
        guard = guards["full"]
        return _measured(guard, prompts, 0, guard.guard.model.open)

    def record(name: str) -> tuple[float, int]:
        guard = guards[name]
        return _measured(
            guard, prompts, guard.runner.draft_length, guard.explorer.explore
        )

    return {
        "prefill": prefill,
        "full": lambda: record("full"),
        "lean": lambda: record("lean"),
    }


def _measured(
    guard: Any,
    prompts: list[Sequence[int]],
    drafted: int,
    read: Callable[[list[Sequence[int]]], Any],
) -> tuple[float, int]:
    lengths = [len(prompt) + drafted for prompt in prompts]
    before, began = guard.guard.model.forward_calls, time.process_time()
    for batch in guard.batcher.plan(lengths):
        read([prompts[i] for i in batch])
    return time.process_time() - began, guard.guard.model.forward_calls - before


if __name__ == "__main__":
    main()
