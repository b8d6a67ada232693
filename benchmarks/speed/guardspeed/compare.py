"""Run every method on the same prompts, round by round, and compare."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import tree_recording, vllm_trees
from .flops import matmul_rate, model_flop
from .generate_per_node import count_expanded, generate_tree
from .meter import Reading, measured
from .plain_generate import generate_greedy
from .setting import Setting, with_own_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPS = 0.01  # of methods a, c and e
METHODS = {
    "a": "one generate call a node, whole prompt each (eps 0.01)",
    "b": "batched generate, greedy verdict only",
    "c": "engine, marginal_any alone (eps 0.01)",
    "d": "engine, full record, all strategies",
    "e": "vLLM, prefix caching, one request a node (eps 0.01)",
}
RATIOS = {
    "a/c": "the first way takes as many times the lean recording's time",
    "a/c by node": "the same, as if both had run as many nodes",
    "a/d": "the first way, of the full record's",
    "b/c": "batched generate, of the lean recording's",
    "b/d": "batched generate, of the full record's",
    "d/c": "the full record, of the lean recording's",
}


@dataclass(slots=True, kw_only=True)
class Row:
    """What one method took, a prompt; seconds are the median over the rounds."""

    method: str
    what: str
    prompts: int = 0
    prompts_per_second: float | None = None
    ms_per_prompt: float | None = None
    forward_passes_per_prompt: float | None = None
    tokens_per_prompt: float | None = None
    nodes_per_prompt: float | None = None
    gap_mean: float | None = None
    peak_memory_mib: float | None = None
    flop_utilisation: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often: `rounds` of all methods, the first way on `slow` prompts alone."""

    rounds: int = 3
    slow: int = 12
    methods: str = "abcde"


class Comparison:
    """The methods on one setting."""

    def __init__(self, setting: Setting, plan: Plan) -> None:
        self.setting, self.plan = setting, plan
        self.lean = tree_recording.explorer(setting, tree_recording.LEAN)
        self.full = tree_recording.explorer(setting, tree_recording.DEFAULT)
        self.budget = self.lean.max_tokens
        self.specs = tree_recording.strategies()
        self.rows = {m: Row(method=m, what=what) for m, what in METHODS.items()}
        self.readings: dict[str, list[Reading]] = {m: [] for m in METHODS}
        self.nodes: dict[str, list[int]] = {}
        self._rate: float | None = None
        self._vllm: Any = None

    def run(self) -> dict[str, Any]:
        """Measure; return the rows and ratios as JSON values."""
        self._warm_up()
        for _ in range(self.plan.rounds):
            for method in "cdba":
                if method in self.plan.methods:
                    self._measure(method)
        self._measure_vllm()
        result = {
            "setting": self._facts(),
            "rows": [self._row_record(method) for method in METHODS],
            "ratios": self._ratios(),
        }
        if self.setting.device.type == "cuda":
            result["prefill"] = self._prefill()
        return result

    def _warm_up(self) -> None:
        """Run the engine once unmeasured, and pick the prompts of method a.

        They are spread over the prompts as sorted by their trees' size.
        """
        _, nodes = tree_recording.record(self.lean, self.setting)
        _, self.nodes["d"] = tree_recording.record(self.full, self.setting)
        self.nodes["c"] = nodes
        by_size = np.argsort(nodes, kind="stable")
        count = min(self.plan.slow, len(by_size))
        picks = (np.arange(count) + 0.5) * len(by_size) / count
        self.slow = by_size[picks.astype(int)].tolist()

    def _measure(self, method: str) -> None:
        run_method: Callable[[], None] = getattr(self, f"_run_{method}")
        with torch.inference_mode():
            if method in "ab":
                with (
                    with_own_head(self.setting) as network,
                    measured(network) as reading,
                ):
                    run_method()
            else:
                with measured(self.setting.network) as reading:
                    run_method()
        self.readings[method].append(reading)

    def _run_a(self) -> None:
        network, trees = self.setting.network, []
        for row in self.slow:
            prompt = self.setting.prompts[row]
            trees.append(generate_tree(network, self.setting, prompt, EPS, self.budget))
        self.nodes["a"] = [count_expanded(t, self.setting, self.budget) for t in trees]

    def _run_b(self) -> None:
        verdicts = generate_greedy(self.setting.network, self.setting, self.budget)
        assert len(verdicts) == len(self.setting.prompts), f"{len(verdicts)} answers"

    def _run_c(self) -> None:
        tree, self.nodes["c"] = tree_recording.record(self.lean, self.setting)
        only = [spec for spec in self.specs if spec.name == "marginal_any"]
        tree_recording.judge(tree, only, self.setting)
        self.rows["c"].gap_mean = tree_recording.mean_open_mass(tree)

    def _run_d(self) -> None:
        tree, self.nodes["d"] = tree_recording.record(self.full, self.setting)
        tree_recording.judge(tree, self.specs, self.setting)
        self.rows["d"].gap_mean = tree_recording.mean_open_mass(tree)

    def _measure_vllm(self) -> None:
        row = self.rows["e"]
        if self.setting.device.type != "cuda" or "e" not in self.plan.methods:
            row.note = "unmeasured: vLLM is compared on a GPU alone"
        elif not vllm_trees.available():
            row.note = "unmeasured: vLLM is not installed"
        else:
            trees = vllm_trees.VllmTrees(self.setting)
            self.nodes["e"] = trees.grow(EPS, self.budget)
            for _ in range(self.plan.rounds):
                with measured(self.setting.network) as reading:
                    trees.grow(EPS, self.budget)
                self.readings["e"].append(reading)
            row.note = "forward passes, tokens and memory are vLLM's own: not counted"

    def _row_record(self, method: str) -> dict[str, Any]:
        row, readings = self.rows[method], self.readings[method]
        if readings:
            self._fill(row, readings, method)
        elif not row.note:
            row.note = "unmeasured: left out"
        return asdict(row)

    def _fill(self, row: Row, readings: Sequence[Reading], method: str) -> None:
        count = len(self.slow) if method == "a" else len(self.setting.prompts)
        seconds = median(r.seconds for r in readings) / count
        last = readings[-1]
        row.prompts = count
        row.ms_per_prompt, row.prompts_per_second = 1000 * seconds, 1 / seconds
        if nodes := self.nodes.get(method):
            row.nodes_per_prompt = float(np.mean(nodes))
        if method == "e":
            return
        row.forward_passes_per_prompt = last.passes / count
        row.tokens_per_prompt = last.tokens / count
        peaks = [r.memory_mib for r in readings if r.memory_mib is not None]
        row.peak_memory_mib = max(peaks) if peaks else None
        if method == "a":
            lean = float(np.mean([self.nodes["c"][i] for i in self.slow]))
            row.note = (
                f"on {count} prompts spread over tree sizes ({lean:.1f} nodes by c)"
            )
        if self.setting.device.type == "cuda":
            rows = row.nodes_per_prompt or last.passes / count
            flop = model_flop(self.setting, row.tokens_per_prompt, rows)
            row.flop_utilisation = flop / seconds / self._peak_rate()

    def _ratios(self) -> dict[str, dict[str, float]]:
        """Return the median, least and most of each ratio over the rounds."""
        result = {}
        for name in RATIOS:
            methods, _, by_node = name.partition(" ")
            over, under = (self._per_prompt(m) for m in methods.split("/"))
            scale = self._node_ratio() if by_node else 1.0
            by_round = [scale * x / y for x, y in zip(over, under, strict=False)]
            if by_round:
                result[name] = {
                    "median": median(by_round),
                    "low": min(by_round),
                    "high": max(by_round),
                }
        return result

    def _node_ratio(self) -> float:
        """Return the lean recording's nodes a prompt, in those of the first way."""
        return float(np.mean(self.nodes["c"]) / np.mean(self.nodes.get("a", [np.nan])))

    def _per_prompt(self, method: str) -> list[float]:
        count = len(self.slow) if method == "a" else len(self.setting.prompts)
        return [reading.seconds / count for reading in self.readings[method]]

    def _prefill(self) -> dict[str, float]:
        """Return how much of the dense matrix rate reading the prompts reaches."""
        seconds = []
        for _ in range(self.plan.rounds):
            with torch.inference_mode(), measured(self.setting.network) as reading:
                tree_recording.prefill(self.full, self.setting)
            seconds.append(reading.seconds)
        count, shared = len(self.setting.prompts), len(self.setting.prefix)
        read = sum(len(prompt) - shared for prompt in self.setting.prompts)
        flop = model_flop(self.setting, read, count)
        rate, peak = flop / median(seconds), self._peak_rate()
        return {
            "tflop_per_second": rate / 1e12,
            "dense_bf16_tflop_per_second": peak / 1e12,
            "utilisation": rate / peak,
        }

    def _peak_rate(self) -> float:
        if self._rate is None:
            self._rate = matmul_rate(self.setting.device)
        return self._rate

    def _facts(self) -> dict[str, Any]:
        setting = self.setting
        lengths = [len(prompt) for prompt in setting.prompts]
        return {
            "model": setting.name,
            "dtype": str(setting.network.dtype).removeprefix("torch."),
            "device": setting.device.type,
            "vocabulary": len(setting.pieces),
            "logits_shaped": setting.shaped,
            "prompts": len(lengths),
            "prompt_tokens_mean": float(np.mean(lengths)),
            "shared_prefix_tokens": len(setting.prefix),
            "batch_tokens": setting.batch_tokens,
            "plain_batch": setting.plain_batch,
            "rounds": self.plan.rounds,
            "verdict_tokens": self.budget,
            "strategies": sorted(spec.name for spec in self.specs),
        }
