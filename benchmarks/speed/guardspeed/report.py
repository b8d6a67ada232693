"""Tables for the terminal, and JSON with all that is needed to repeat a run."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table

from .compare import RATIOS

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

_PACKAGES = ("safebench", "torch", "transformers", "numpy", "vllm")
_COLUMNS = {
    "prompts": ("prompts", "{:d}"),
    "prompts/s": ("prompts_per_second", "{:.1f}"),
    "ms": ("ms_per_prompt", "{:.1f}"),
    "passes": ("forward_passes_per_prompt", "{:.2f}"),
    "tokens": ("tokens_per_prompt", "{:.0f}"),
    "nodes": ("nodes_per_prompt", "{:.1f}"),
    "gap": ("gap_mean", "{:.4f}"),
    "peak MiB": ("peak_memory_mib", "{:.0f}"),
    "MFU": ("flop_utilisation", "{:.0%}"),
}


def show(result: dict[str, Any], console: Console) -> None:
    """Print one comparison."""
    facts = result["setting"]
    title = (
        f"{facts['model']}, {facts['dtype']}, {facts['device']}: prompts of "
        f"{facts['prompt_tokens_mean']:.0f} tokens, {facts['shared_prefix_tokens']} "
        f"shared; logits shaped: {facts['logits_shaped']}"
    )
    table = Table("", "per prompt", title=title, title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for row in result["rows"]:
        cells = [
            "" if row[key] is None else form.format(row[key])
            for key, form in _COLUMNS.values()
        ]
        note = f"\n[dim]{row['note']}[/]" if row["note"] else ""
        table.add_row(row["method"], row["what"] + note, *cells)
    console.print(table)
    for name, ratio in result["ratios"].items():
        spread = f"{ratio['low']:.2f} to {ratio['high']:.2f} over the rounds"
        console.print(f"  {name} = {ratio['median']:.2f} ({spread}): {RATIOS[name]}")
    for key, value in result.get("prefill", {}).items():
        console.print(f"  prefill {key}: {value:.3g}")


def show_agreement(result: dict[str, Any], console: Console) -> None:
    """Print how two number formats agree."""
    first, second = result["dtypes"]
    console.print(
        f"{first} against {second}: {result['model']}, {result['prompts']} prompts"
    )
    for name in ("score", "categories"):
        part = result[name]
        console.print(
            f"  {name}: {part['decisions_that_differ']} of {part['values']} decisions "
            f"differ ({part['share_of_decisions_that_differ']:.2%}), "
            f"max |dp| {part['max_difference']:.4f}, mean {part['mean_difference']:.5f}"
        )
    share = result["greedy_verdicts_that_differ"]
    console.print(f"  greedy verdicts that differ: {share:.2%}")
    errors = result["calibration"]
    if errors:
        console.print(
            f"  calibration error of the score: {errors['ece']:.4f} and "
            f"{errors['ece_other']:.4f} ({errors['difference']:+.4f})"
        )


def write(path: Path, results: Any, command: str) -> None:
    """Write results with the command, versions and machine they came from."""
    document = {
        "command": command,
        "versions": _versions(),
        "python": platform.python_version(),
        "machine": _machine(),
        "threads": torch.get_num_threads(),
        "clock": "process CPU time (wall clock on a GPU), median of the rounds",
        "results": results,
    }
    text = json.dumps(rounded(document), indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def command_line() -> str:
    """Return the command as it would be typed in the project's folder."""
    return " ".join(["python", "benchmarks/speed/run.py", *sys.argv[1:]])


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {platform.system()}"


def _versions() -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = None
    return result


def rounded(value: Any) -> Any:
    """Keep five digits of every float."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
