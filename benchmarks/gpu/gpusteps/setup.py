"""What every step measures on: a GPU with an 8B, or a CPU with something tiny."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from guardspeed.setting import Setting

T = TypeVar("T")
PREFIX_TOKENS = 256  # about those of a policy


@dataclass(frozen=True, slots=True)
class Setup:
    """Where and how large; `dry` runs the same code on a CPU with tiny sizes."""

    dry: bool = False

    def pick(self, size: T, tiny: T) -> T:
        """Return the size of a real run, or that of a dry one."""
        return tiny if self.dry else size

    @property
    def device(self) -> str:
        """The type of the device."""
        return self.pick("cuda", "cpu")

    @property
    def shape(self) -> str:
        """The shape of the random Llama."""
        return self.pick("8b", "tiny")

    @property
    def dtype(self) -> Any:
        """The number format of weights and arithmetic."""
        import torch  # noqa: PLC0415 - the process that starts the steps needs none

        return self.pick(torch.bfloat16, torch.float32)

    def guard(self, prompts: int) -> Setting:
        """Return a random guard on the device, and prompts that share a prefix."""
        if self.dry:
            return replace(_tiny_guard())
        from guardspeed.random_llama import random_llama  # noqa: PLC0415 - as above

        return random_llama(prompts, PREFIX_TOKENS)


@cache
def _tiny_guard() -> Setting:
    """Return one for all steps of a dry run, whose processes share it."""
    import torch  # noqa: PLC0415 - as above
    from guardspeed.random_llama import random_llama  # noqa: PLC0415 - as above

    return random_llama(2, 16, shape="tiny", device="cpu", dtype=torch.float32)
