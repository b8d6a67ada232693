"""Load what Hugging Face libraries load, quietly, with failures in one line."""

from __future__ import annotations

import pickle
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError

from safebench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What Hugging Face libraries raise for files that are damaged or do not fit.
LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    ImportError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
)


@contextmanager
def one_line(label: str, what: str = "model", hint: str = "") -> Iterator[None]:
    """Turn a library's failure to load into one line that names the model."""
    try:
        yield
    except LOAD_ERRORS as error:
        if isinstance(error, torch.OutOfMemoryError):
            reason = "it does not fit into the device's memory; try dtype or device"
        else:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{what} {label!r} cannot be loaded: {reason}{hint}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Hugging Face log lines, progress bars and notices of what will change."""
    logging: Any = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
