"""Networks whose linear layers are held in 4 bits, to fit on a GPU and learn adapters.

NF4 with quantized constants: Dettmers et al. 2023, "QLoRA", arXiv 2305.14314.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import transformers

from safebench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .device import Placement

_LIBRARY = "bitsandbytes"


def quantization_options(
    placement: Placement, extra: str, *, whole: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what a network is loaded with to be in 4 bits on a device.

    Products are computed in the placement's number format. `whole` are the names of
    layers that keep their precision, beside the output layer of a language model.
    Raises `ModelError` without bitsandbytes; `extra` is what to install, such as
    ``safebench-cost-model[qlora]``.
    """
    if find_spec(_LIBRARY) is None:
        raise ModelError(f"4-bit loading needs {_LIBRARY}: pip install '{extra}'")
    config_class: Any = transformers.BitsAndBytesConfig
    config = config_class(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=placement.dtype,
        # Without any, the library finds the output layer by itself.
        llm_int8_skip_modules=["lm_head", *whole] if whole else None,
    )
    return {"quantization_config": config, "device_map": {"": placement.device}}
