"""A run folder written by hand: predictions, results, evidence of an ensemble."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.classifiers import Trace
from safebench.evidence import MemberLogits
from safebench.evidence.recording import Recording
from safebench.evidence.store import EvidenceStore
from safebench.records import Turn, content_hash
from safebench.results import Row, merge_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MEMBERS = ("m1", "m2", "m3")


@dataclass
class FakeRun:
    """A folder that looks like a finished run on a file of prompts."""

    folder: Path
    prompts: list[str] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    metas: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids that the dataset file gives."""
        return [f"p{i}" for i in range(len(self.prompts))]

    @property
    def content(self) -> list[str]:
        """The hash of each conversation, as predictions and evidence name it."""
        return [content_hash((Turn("user", prompt),)) for prompt in self.prompts]

    def write_dataset(self) -> Path:
        """Write the prompts as a file, and the configuration that names it."""
        path = self.folder.parent / "prompts.jsonl"
        rows = zip(self.ids, self.prompts, self.labels, strict=True)
        lines = [
            json.dumps({"id": i, "prompt": p, "label": "unsafe" if y else "safe"})
            for i, p, y in rows
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.folder.mkdir(exist_ok=True)
        config = f"datasets: ['{path}']\n"
        (self.folder / "config.yaml").write_text(config, encoding="utf-8")
        return path

    def predict(
        self,
        strategy: str = "mean",
        *,
        score: Any = None,
        uncertainty: Any = None,
        decision: Any = None,
        classifier: str = "guard",
        threshold: float | None = 0.5,
        probability: bool = True,
        failed: tuple[int, ...] = (),
        dataset: str = "prompts.jsonl",
        groups: Sequence[str] = (),
    ) -> None:
        """Write predictions and the result rows that say what the score is."""
        n = len(self.prompts)
        none = [None] * n
        score = none if score is None else list(score)
        uncertainty = none if uncertainty is None else list(uncertainty)
        if decision is None:
            decision = [None if s is None else s >= (threshold or 0) for s in score]
        ids, content = self.ids, self.content
        lines = [
            {
                "id": ids[i],
                "content": content[i],
                "strategy": strategy,
                "classifier": classifier,
                "model": "hand-written",
                "dataset": dataset,
                "config": None,
                "split": "all",
                "part": "test",
                "task": "prompt_harm",
                "score": None if i in failed else score[i],
                "uncertainty": None if i in failed else uncertainty[i],
                "decision": None
                if i in failed or decision[i] is None
                else bool(decision[i]),
                "label": self.labels[i],
                "gold_categories": None,
                "tokens_in": 10 + i,
                "error": "no verdict" if i in failed else None,
            }
            for i in range(n)
        ]
        for line, group in zip(lines, groups, strict=False):
            line["group"] = group
        folder = self.folder / "predictions" / classifier / f"{dataset}.all"
        folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join(map(json.dumps, lines)) + "\n"
        (folder / f"{strategy}.jsonl").write_text(text, encoding="utf-8")
        row = Row(
            run=self.folder.name,
            classifier=classifier,
            model="hand-written",
            strategy=strategy,
            dataset=dataset,
            split="all",
            task="prompt_harm",
            metric="brier",
            value=0.1 if probability else None,
            n=n,
            threshold=threshold,
        )
        merge_rows(self.folder / "results.jsonl", [row])

    def record_members(self, logits: Any, classifier: str = "guard") -> None:
        """Store member logits, (n, M, 2) of harmful and safe, one window each."""
        logits = np.asarray(logits, dtype=float)
        n, count = logits.shape[:2]
        batch = MemberLogits(
            {"logits": logits},
            offsets={"W": np.arange(n + 1)},
            meta={
                "link": "softmax",
                "classes": ["harmful", "safe"],
                "tasks": {"harmful": ["prompt_harm", 1], "safe": ["prompt_harm", -1]},
                "members": list(MEMBERS[:count])
                if count <= len(MEMBERS)
                else [f"m{i}" for i in range(count)],
            },
        )
        store = EvidenceStore(self.folder / "evidence" / "abc" / "main", {MemberLogits})
        keys = [f"{content}:0:prompt_harm" for content in self.content]
        traces = [Trace() for _ in keys]
        store.add(keys, Recording(evidence={MemberLogits: batch}, traces=traces))
        manifest = {"models": {classifier: {"evidence_key": "abc"}}}
        path = self.folder / "manifest.json"
        path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """Return a run of eight prompts, half of them harmful."""
    prompts = [f"prompt number {i}" for i in range(8)]
    return FakeRun(tmp_path / "fake", prompts, [True] * 4 + [False] * 4)
