"""The steps of the measurement, and how long each may take."""

from __future__ import annotations

from dataclasses import dataclass

MOST_SECONDS = 480


@dataclass(frozen=True, slots=True)
class Step:
    """A module of this package; `budget` is in seconds, with the start of a process."""

    name: str
    budget: float
    what: str


MACHINE = Step("machine", 30, "what the numbers were measured on")
STEPS = (
    Step("engine", 95, "engine against plain generate and one call a node"),
    Step("floor", 45, "full and lean record, in times of one prefill a prompt"),
    Step("flops", 35, "share of the device's dense matrix rate"),
    Step("invariance", 65, "how far results move with the size of batches"),
    Step("memory", 45, "a token budget far too large ends in smaller batches"),
    Step("digest", 30, "logits digested on the device and on the host"),
    Step("members", 65, "six encoders of DistilBERT's shape"),
    Step("training", 60, "steps a second of a cost model and of a guard's LoRA"),
)
PLANNED = MACHINE.budget + sum(step.budget for step in STEPS)
