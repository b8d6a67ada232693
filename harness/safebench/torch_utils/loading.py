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
from safebench.forwarding import old_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
# Without any of these the library makes up a tokenizer to which all words are unknown.
TOKENIZER_FILES = ("tokenizer.json", "vocab*", "*.model", "merges.txt", "bpe.codes")


@contextmanager
def model_load_errors(
    label: str, what: str = "model", hint: str = ""
) -> Iterator[None]:
    """Turn a library's failure to load into one line that names the model."""
    try:
        yield
    except LOAD_ERRORS as error:
        if isinstance(error, torch.OutOfMemoryError):
            reason = "it does not fit into the device's memory; try dtype or device"
        else:
            reason = _first_sentence(error)
        raise ModelError(
            f"{what} {label!r} cannot be loaded: {reason}{hint}"
        ) from error


def _first_sentence(error: BaseException) -> str:
    """Return a message's first line, and the next where it ends in a colon."""
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first += " " + rest.strip().partition("\n")[0]
    return first or type(error).__name__


@contextmanager
def quiet_transformers() -> Iterator[None]:
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


def load_tokenizer(folder: Path, label: str) -> Any:
    """Return the fast tokenizer of a folder; raises ModelError if it has none."""
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZER_FILES):
        raise ModelError(
            f"model {label!r} has no tokenizer: put the tokenizer.json that it was "
            f"trained with into {folder}"
        )
    with quiet_transformers(), model_load_errors(label):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"model {label!r}: its tokenizer has no tokenizer.json form; "
            "convert it to a fast tokenizer first"
        )
    return tokenizer


__getattr__ = old_names(__name__)
