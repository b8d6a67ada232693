"""Adapters that bring files of their own: tokenizer, chat template, added tokens.

What lies in an adapter's folder is what it was trained with, so that it counts before
what its base has.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.torch_utils import load_adapters, model_load_errors
from safebench.training import Artifact

from .model_files import NAMED_TEMPLATES

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.torch_utils import ModelFolder

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
_CHECKPOINT = re.compile(r"checkpoint-\d+\Z")
_MAX_HEADER = 100_000_000  # bytes, as in the library
_TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "bpe.codes", "*.tiktoken")


def load_guard_tokenizer(base: ModelFolder, adapter: ModelFolder | None) -> Any:
    """Return the tokenizer of an adapter if it has one, with its chat template.

    Each of the two is the base's where the adapter's folder has none. Raises ModelError
    for a tokenizer in which tokens of the base have other ids.
    """
    tokenizer = base.tokenizer()
    if adapter is None:
        return tokenizer
    if not _has_tokenizer(adapter.folder):
        _refuse_unknown_tokens(adapter, tokenizer)
        tokenizer.chat_template = _stored_template(adapter) or tokenizer.chat_template
        return tokenizer
    adapted = adapter.tokenizer()
    ids = adapted.get_vocab()
    moved = [t for t, i in tokenizer.get_vocab().items() if ids.get(t) != i]
    if moved:
        raise ModelError(
            f"adapter {adapter.label!r}: its tokenizer gives other ids to "
            f"{len(moved)} tokens of {base.label!r}, first {min(moved)!r}; it belongs "
            "to another model"
        )
    adapted.chat_template = adapted.chat_template or tokenizer.chat_template
    return adapted


def _refuse_unknown_tokens(adapter: ModelFolder, tokenizer: Any) -> None:
    """Raise ModelError if an adapter says that it adds tokens which the base lacks."""
    added: list[str] = []
    if (adapter.folder / "added_tokens.json").is_file():
        added += adapter.read_json("added_tokens.json")
    if (adapter.folder / "tokenizer_config.json").is_file():
        decoder = adapter.read_json("tokenizer_config.json").get("added_tokens_decoder")
        tokens = decoder.values() if isinstance(decoder, dict) else ()
        added += [str(t["content"]) for t in tokens if "content" in t]
    known = tokenizer.get_vocab()
    unknown = [token for token in added if token not in known]
    if unknown:
        raise ModelError(
            f"adapter {adapter.label!r} adds the token {unknown[0]!r}, and its folder "
            "has no tokenizer: put the tokenizer.json that it was trained with there"
        )


def _stored_template(
    adapter: ModelFolder,
) -> str | dict[str, str] | None:
    """Return the chat template in a folder without a tokenizer, None without one.

    Several of them come by their names, as the library keeps them.
    """
    named = {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(adapter.folder.glob(NAMED_TEMPLATES))
    }
    template: Any = _one_stored_template(adapter)
    if isinstance(template, list):  # as files of earlier years have it
        named |= {str(t["name"]): str(t["template"]) for t in template}
        template = None
    if isinstance(template, str):
        return named | {"default": template} if named else template
    return named or None


def _one_stored_template(adapter: ModelFolder) -> Any:
    """Return what the first file of a template holds: a text, or a list of named."""
    for name in _TEMPLATE_FILES:
        path = adapter.folder / name
        if not path.is_file():
            continue
        with model_load_errors(adapter.label, "adapter", hint=f" ({path})"):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".jinja":
                return text
            template = json.loads(text).get("chat_template")
        if isinstance(template, (str, list)):
            return template
    return None


def _own_parts(adapter: ModelFolder) -> tuple[str, ...]:
    """Return what an adapter brings itself of the parts that `check_base` names."""
    own = []
    if _has_tokenizer(adapter.folder):
        own.append("tokenizer_config")
    if _stored_template(adapter):
        own.append("chat_template")
    return tuple(own)


def base_note(adapter: ModelFolder | None, base: ModelFolder) -> str:
    """Return a note where an adapter may have been trained on another base, or "".

    One that safebench trained says by hashes which base that was: another raises
    `ModelError`. Of the others the name is known, and folders of any place may hold a
    copy, so that only its last part counts.
    """
    if adapter is None:
        return ""
    if Artifact(adapter.folder).path.is_file():
        manifest = Artifact(adapter.folder).manifest()
        stored = manifest.get("base")
        if not isinstance(stored, dict):  # of before there were hashes
            stored = {"name": manifest.get("base_guard")}
        return base.check_base(stored, f"adapter {adapter.label}", _own_parts(adapter))
    named = adapter.read_json("adapter_config.json").get("base_model_name_or_path")
    trained_on = str(named or "").rstrip("/").rpartition("/")[2]
    put_on = base.label.rpartition("/")[2]
    if trained_on.casefold() in ("", put_on.casefold()):
        return ""
    return (
        f"adapter {adapter.label} was trained on {trained_on}, and is put on {put_on}"
    )


def tokenizer_above_note(adapter: ModelFolder | None) -> str:
    """Return a note where a checkpoint's tokenizer lies one folder above it, or "".

    Training saves it there at the end; its template may be another one than the base's.
    """
    if adapter is None or not _CHECKPOINT.match(adapter.folder.name):
        return ""
    above = adapter.folder.parent
    if _has_tokenizer(adapter.folder) or not _has_tokenizer(above):
        return ""
    return (
        f"adapter {adapter.label} has no tokenizer, and the base's is read; the one in "
        "the folder above it is read where it is copied into it"
    )


def _has_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(name)) for name in _TOKENIZER_FILES)


def apply_adapter(network: Any, adapter: ModelFolder, tokenizer: Any) -> Any:
    """Return the network with an adapter of its weights, and with the tokens it added.

    Raises ModelError for a soft prompt, and for added tokens without embeddings.
    """
    _resize_for_added_tokens(network, adapter, tokenizer)
    wrapped = load_adapters(network, {"default": adapter.folder}, adapter.label)
    if wrapped.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"adapter {adapter.label!r} is a soft prompt; "
            "only adapters of the weights (LoRA and the like) are supported"
        )
    return wrapped.get_base_model()


def _resize_for_added_tokens(
    network: Any, adapter: ModelFolder, tokenizer: Any
) -> None:
    """Give the network as many tokens as the adapter was trained with."""
    embeddings = network.get_input_embeddings()
    rows = int(embeddings.weight.shape[0])
    shapes = _stored_shapes(adapter)
    stored = _rows_of(network, embeddings, shapes)
    wanted = stored or max(rows, len(tokenizer))
    if wanted == rows:
        return
    head = network.get_output_embeddings()
    tied = head is None or head.weight is embeddings.weight
    learned = any("trainable_tokens" in key for key in shapes)
    complete = stored and (tied or _rows_of(network, head, shapes))
    if not complete and not learned:
        raise ModelError(
            f"adapter {adapter.label!r}: its tokenizer has {wanted} tokens and its "
            f"base {rows}, but it holds no embeddings of those it adds; save it with "
            "them (save_embedding_layers=True)"
        )
    # The new rows are the adapter's; what they hold until it is loaded is not read.
    network.resize_token_embeddings(wanted, mean_resizing=False)


def _rows_of(network: Any, module: Any, shapes: dict[str, list[int]]) -> int:
    """Return how many rows of a module's weights an adapter stores, 0 for none."""
    name = next(name for name, other in network.named_modules() if other is module)
    for key, shape in shapes.items():
        if key.endswith((f".{name}.weight", f".{name}.modules_to_save.weight")):
            return shape[0]
    return 0


def _stored_shapes(adapter: ModelFolder) -> dict[str, list[int]]:
    """Return the shapes of an adapter's tensors; empty if they are not safetensors."""
    path = adapter.folder / "adapter_model.safetensors"
    if not path.is_file():
        return {}
    # The file begins with the size of its header, which is JSON. A damaged one is told
    # here, in the words of all that cannot be loaded.
    with (
        model_load_errors(adapter.label, "adapter", hint=f" ({path})"),
        path.open("rb") as file,
    ):
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, _MAX_HEADER)))
        header.pop("__metadata__", None)
        return {key: tensor["shape"] for key, tensor in header.items()}
