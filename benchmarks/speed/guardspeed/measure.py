"""Measure what the command line asks for, from its options to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from .compare import Comparison, Plan
from .embedded import embedded_setting
from .precision import agreement
from .random_llama import random_llama
from .report import command_line, show, show_agreement, write
from .tree_size import shape_nodes

if TYPE_CHECKING:
    from pathlib import Path

    from .setting import Setting

_WIDTH = 150


def compare_all(options: dict[str, Any], folder: Path) -> None:
    """Measure every combination of prefix and tree size."""
    torch.set_num_threads(1)
    console = Console(width=_WIDTH)
    results = []
    for prefix in options["prefix_tokens"]:
        for node_range in options["nodes"]:
            setting = build(options, prefix)
            if node_range != "own":
                low, high = map(float, node_range.split("-"))
                shape_nodes(setting, low, high)
            plan = Plan(
                rounds=options["rounds"],
                slow=options["slow"],
                methods=options["methods"],
            )
            results.append(
                {"nodes_asked_for": node_range} | Comparison(setting, plan).run()
            )
            show(results[-1], console)
    device = results[-1]["setting"]["device"]
    path = (
        options["out"] or folder / f"speed-{'gpu' if device == 'cuda' else device}.json"
    )
    write(path, results, command_line())
    console.print(f"written to {path.name}")


def compare_precision(options: dict[str, Any], folder: Path) -> None:
    """Compare float32 with bfloat16."""
    torch.set_num_threads(1)
    console = Console(width=_WIDTH)
    results = []
    for prefix in options["prefix_tokens"]:
        pair = [build(options, prefix, dtype) for dtype in ("float32", "bfloat16")]
        results.append(agreement(*pair))
        show_agreement(results[-1], console)
    device = results[-1]["device"]
    name = f"precision-{'gpu' if device == 'cuda' else device}.json"
    path = options["out"] or folder / name
    write(path, results, command_line())
    console.print(f"written to {path.name}")


def build(options: dict[str, Any], prefix: int, dtype: str = "") -> Setting:
    """Return a fresh setting for a prefix of that many tokens."""
    if options["model"] == "embedded":
        setting = embedded_setting(
            options["prompts"], prefix, dtype or "float32", options["device"] or "cpu"
        )
    else:
        shape = options["model"].removeprefix("random-")
        device = options["device"] or ("cuda" if shape == "8b" else "cpu")
        setting = random_llama(
            options["prompts"],
            prefix,
            shape=shape,
            device=device,
            dtype=getattr(torch, dtype or ("bfloat16" if shape == "8b" else "float32")),
        )
    setting.batch_tokens = options["batch_tokens"] or setting.batch_tokens
    setting.plain_batch = options["plain_batch"] or setting.plain_batch
    return setting
