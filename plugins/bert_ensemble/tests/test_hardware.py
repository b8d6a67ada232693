"""What the machine can do, and which of its GPUs a process sees."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from safebench_bert_ensemble.train.hardware import (
    VISIBLE_DEVICES,
    cpu_has_bf16,
    restrict_to_gpu,
    visible_gpus,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_cpu_has_bfloat16_if_it_says_so(tmp_path: Path) -> None:
    """The flags of the CPU decide; without any, it has not."""
    info = tmp_path / "cpuinfo"
    for flags, expected in (("avx2 fma", False), ("avx512_bf16 amx_bf16", True)):
        info.write_text(f"flags\t\t: {flags}\n")
        assert expected is cpu_has_bf16(info)
    assert not cpu_has_bf16(tmp_path / "nothing")


@pytest.mark.parametrize("before", [None, "4,6"])
def test_one_gpu_is_shown_and_the_variable_put_back(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Processes that start within see that GPU alone; None changes nothing."""
    monkeypatch.delenv(VISIBLE_DEVICES, raising=False)
    if before is not None:
        monkeypatch.setenv(VISIBLE_DEVICES, before)

    with restrict_to_gpu("6"):
        assert ["6"] == visible_gpus()
    assert before == os.environ.get(VISIBLE_DEVICES)
    with restrict_to_gpu(None):
        assert before == os.environ.get(VISIBLE_DEVICES)
