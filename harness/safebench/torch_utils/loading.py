"""Load what Hugging Face libraries load: the one place that calls `from_pretrained`.

A model's folder can come from anybody. Nothing here runs code that lies in it, asks
standard input, or builds what `folder_checks` refuses, and every failure is one line.
"""

from __future__ import annotations

import pickle
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers

from safebench.errors import ModelError, SafebenchError
from safebench.forwarding import old_names

from .folder_checks import CODE_IS_NEVER_RUN, check_model_folder, check_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

Task = Literal["encoder", "classifier", "causal_lm"]
_AUTO_CLASSES: dict[Task, str] = {
    "encoder": "AutoModel",
    "classifier": "AutoModelForSequenceClassification",
    "causal_lm": "AutoModelForCausalLM",
}
# Without any of these the library makes up a tokenizer to which all words are unknown.
TOKENIZER_FILES = ("tokenizer.json", "vocab*", "*.model", "merges.txt", "bpe.codes")
WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
# Parameters that a byte of weights can stand for, of the densest quantization with
# room to spare, and parameters that any head may add.
_MAX_PARAMETERS_PER_BYTE, _HEAD_PARAMETERS = 16, 10_000_000
_NEVER_RUN = {"local_files_only": True, "trust_remote_code": False}


@contextmanager
def model_load_errors(
    label: str, what: str = "model", hint: str = ""
) -> Iterator[None]:
    """Turn a library's failure to load into one line that names the model."""
    try:
        yield
    except SafebenchError:
        raise
    # Any: files decide what the library calls, and so what it raises.
    except Exception as error:
        raise ModelError(
            f"{what} {label!r} cannot be loaded: {_reason(error)}{hint}"
        ) from error
    except BaseException as error:
        if not is_tokenizer_panic(error):
            raise
        raise ModelError(
            f"{what} {label!r} cannot be loaded: {_reason(error)}{hint}"
        ) from error


def is_tokenizer_panic(error: BaseException) -> bool:
    """Tell a failure of the tokenizers library, which is no `Exception`."""
    return type(error).__name__ == "PanicException"


@contextmanager
def tokenization_errors(label: str) -> Iterator[None]:
    """Turn a tokenizer's failure on a text into one line that names the model."""
    try:
        yield
    except BaseException as error:
        if not is_tokenizer_panic(error):
            raise
        raise ModelError(
            f"model {label!r}: its tokenizer fails on a text: {_reason(error)}"
        ) from None


def _reason(error: BaseException) -> str:
    """Return why something cannot be loaded, in one line."""
    if isinstance(error, torch.OutOfMemoryError):
        return "it does not fit into the device's memory; try dtype or device"
    if isinstance(error, pickle.UnpicklingError):
        return (
            "its weights are a pickle that would run code when it is read: "
            f"{CODE_IS_NEVER_RUN}; the same weights as .safetensors would work"
        )
    if isinstance(error, KeyError):
        return f"KeyError: {' '.join(str(error).split())}" if str(error) else "KeyError"
    return _first_sentence(error)


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


def load_config(folder: Path, label: str, **changes: Any) -> Any:
    """Return the configuration of a model's folder, some of its values replaced.

    Raises `ModelError` for a folder that needs its own code, is a bomb, or is damaged.
    """
    check_model_folder(folder, label)
    with quiet_transformers(), model_load_errors(label):
        return transformers.AutoConfig.from_pretrained(folder, **_NEVER_RUN, **changes)


def load_network(
    task: Task,
    folder: Path,
    label: str,
    *,
    changes: Mapping[str, Any] | None = None,
    new_head: bool = False,
    headless_hint: str = "",
    **kwargs: Any,
) -> Any:
    """Return a network whose weights all come from its folder.

    `changes` replace values of its configuration; `kwargs` (dtype, device_map,
    attn_implementation, quantization_config, key_mapping) go to the library. With
    `new_head` the head may be missing or have another shape, and is then drawn from
    torch's generator. `headless_hint` ends the message where the head alone is
    missing. Raises `ModelError`, in one line.
    """
    config = load_config(folder, label, **(changes or {}))
    _check_quantization(config, label)
    auto_class: Any = getattr(transformers, _AUTO_CLASSES[task])
    with quiet_transformers(), model_load_errors(label):
        _check_parameters(auto_class, config, folder, label)
        network, report = auto_class.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            # Told below, by name; the library's own message names nothing.
            ignore_mismatched_sizes=True,
            **_NEVER_RUN,
            **kwargs,
        )
    if task == "encoder":
        # It is run for its states: a pooling layer drawn at random is never read.
        _check_weights(report, label, _is_pooling, headless_hint, may_lack=True)
    else:
        prefix = f"{network.base_model_prefix}."
        _check_weights(
            report,
            label,
            lambda key: not key.startswith(prefix) or _is_pooling(key),
            headless_hint,
            may_lack=new_head,
        )
    return network


def _check_quantization(config: Any, label: str) -> None:
    """Raise `ModelError` for a quantization that the library does not know.

    It would read the numbers as they are stored, without their scales.
    """
    from transformers.quantizers import auto

    stored = getattr(config, "quantization_config", None)
    if not isinstance(stored, dict):
        return
    library: Any = auto.AutoHfQuantizer
    known = isinstance(stored.get("quant_method", ""), str)
    with quiet_transformers(), model_load_errors(label):
        known = known and library.supports_quant_method(stored)
    if not known:
        raise ModelError(
            f"model {label!r}: config.json says that its weights are quantized by "
            f"{stored.get('quant_method')!r}, which transformers "
            f"{transformers.__version__} does not read; a copy of the model that is "
            "not quantized would work"
        )


def _check_parameters(auto_class: Any, config: Any, folder: Path, label: str) -> None:
    """Raise `ModelError` where the configuration describes far more than is stored.

    The library allocates and draws what its files lack.
    """
    stored = sum(
        path.stat().st_size
        for pattern in WEIGHT_PATTERNS
        for path in folder.glob(pattern)
    )
    if not stored:  # the library says what is missing
        return
    with torch.device("meta"):  # shapes alone
        network = auto_class.from_config(config, trust_remote_code=False)
    described = sum(weights.numel() for weights in network.parameters())
    if described > _MAX_PARAMETERS_PER_BYTE * stored + _HEAD_PARAMETERS:
        raise ModelError(
            f"model {label!r}: config.json describes {described:.1e} parameters, and "
            f"its files hold {stored:.1e} bytes: copy the model again"
        )


def _check_weights(
    report: Any,
    label: str,
    is_head: Callable[[str], bool],
    headless_hint: str,
    *,
    may_lack: bool,
) -> None:
    """Raise `ModelError` for weights that the library drew, with no more than a log.

    `is_head` tells those that a base need not have; with `may_lack` they may be drawn.
    """
    mismatched = sorted(report["mismatched_keys"], key=str)
    missing = sorted(report["missing_keys"])
    if may_lack:
        mismatched = [entry for entry in mismatched if not is_head(entry[0])]
        missing = [key for key in missing if not is_head(key)]
    if mismatched:
        key, stored, described = mismatched[0]
        raise ModelError(
            f"model {label!r} cannot be loaded: size mismatch of {key}: "
            f"{tuple(stored)} in its files, {tuple(described)} by config.json"
        )
    if missing:
        headless = all(map(is_head, missing))
        raise ModelError(
            f"model {label!r}: {len(missing)} weights are not in its files, first "
            f"{missing[0]}{headless_hint if headless else ': copy it whole'}"
        )


def _is_pooling(key: str) -> bool:
    return ".pooler." in f".{key}"


def load_adapters(
    network: Any, folders: Mapping[str, Path], label: str, what: str = "adapter"
) -> Any:
    """Return the network under PEFT's wrapper, with adapters by name, the first in use.

    Raises `ModelError`, in one line, for one that does not fit or that names code.
    Weights that have no place, and places without weights, are no adapter of this
    network: PEFT leaves both out, and the base would be judged under its name.
    """
    import peft  # slow to import, and most models have no adapter

    first = next(iter(folders))
    for folder in folders.values():
        check_model_folder(folder, label)
    with quiet_transformers(), model_load_errors(label, what):
        wrapped = peft.PeftModel.from_pretrained(network, folders[first], first)
        # the first one again: only so is it told what had no place
        results = {n: wrapped.load_adapter(folders[n], n) for n in folders}
    for name, result in results.items():
        which = f"{what} {label!r}" + (f" ({name})" if len(folders) > 1 else "")
        for keys, problem in (
            (result.unexpected_keys, "have no place in the model"),
            (result.missing_keys, "are not in its files"),
        ):
            if keys:
                raise ModelError(
                    f"{which}: {len(keys)} weights {problem}, first {keys[0]}; it "
                    "belongs to another model, or is damaged"
                )
    return wrapped


def load_tensors(path: Path, label: str) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file; `ModelError` if it is damaged."""
    from safetensors.torch import load_file

    with model_load_errors(label, hint=f" ({path})"):
        return load_file(path)


def load_tokenizer(folder: Path, label: str) -> Any:
    """Return the fast tokenizer of a folder.

    Raises ModelError if it has none, needs its own code, or would never end.
    """
    # Asked of the files, since the library makes up an empty tokenizer without a word.
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZER_FILES):
        raise ModelError(
            f"model {label!r} has no tokenizer: put the tokenizer.json that it was "
            f"trained with into {folder}"
        )
    check_model_folder(folder, label)
    check_tokenizer(folder, label)
    with quiet_transformers(), model_load_errors(label):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **_NEVER_RUN)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"model {label!r}: its tokenizer has no tokenizer.json form; "
            "convert it to a fast tokenizer first"
        )
    return tokenizer


__getattr__ = old_names(__name__)
