"""How much of the device's dense matrix rate reading and recording reach."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from guardspeed import tree_recording
from guardspeed.flops import matmul_rate, model_flop
from guardspeed.meter import measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from guardspeed.setting import Setting

    from .setup import Setup


def measure(setup: Setup) -> dict[str, Any]:
    """Return FLOP/s of prefill and of the full record against the dense rate.

    Padding is no work, nor is attention itself; the shared prefix was read before.
    """
    setting = setup.guard(512)
    engine = tree_recording.explorer(setting, tree_recording.DEFAULT)
    _, nodes = tree_recording.record(engine, setting)  # warms up, too
    shared, count = len(setting.prefix), len(setting.prompts)
    own = sum(len(prompt) - shared for prompt in setting.prompts)
    grown = float(np.sum(nodes))
    rounds = setup.pick(3, 1)
    reading = _seconds(setting, rounds, lambda: tree_recording.prefill(engine, setting))
    growing = _seconds(setting, rounds, lambda: tree_recording.record(engine, setting))
    peak = matmul_rate(
        setting.device, size=setup.pick(8192, 128), repeats=setup.pick(20, 2)
    )
    rates = {
        "prefill": model_flop(setting, own, count) / reading,
        "full_record": model_flop(setting, own + grown - count, grown) / growing,
    }
    return {
        "dense_bf16_tflop_per_second": peak / 1e12,
        "prompts": count,
        "own_tokens": own,
        "nodes": grown,
        **{f"{name}_tflop_per_second": rate / 1e12 for name, rate in rates.items()},
        **{f"{name}_utilisation": rate / peak for name, rate in rates.items()},
    }


def _seconds(setting: Setting, rounds: int, run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(rounds):
        with torch.inference_mode(), measured(setting.network) as reading:
            run()
        seconds.append(reading.seconds)
    return median(seconds)
