"""Adapters that bring files of their own: tokenizer, chat template, added tokens.

What lies in an adapter's folder is what it was trained with, so that it counts before
what its base has.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.torch_utils import load_adapters, model_load_errors

if TYPE_CHECKING:
    from safebench.torch_utils import ModelFolder

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
_MAX_HEADER = 100_000_000  # bytes, as in the library
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


def load_guard_tokenizer(base: ModelFolder, adapter: ModelFolder | None) -> Any:
    """Return the tokenizer of an adapter if it has one, with its chat template.

    Each of the two is the base's where the adapter's folder has none. Raises ModelError
    for a tokenizer in which tokens of the base have other ids.
    """
    tokenizer = base.tokenizer()
    if adapter is None:
        return tokenizer
    if not any((adapter.folder / name).is_file() for name in _TOKENIZER_FILES):
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


def _stored_template(adapter: ModelFolder) -> str | None:
    """Return the chat template in a folder without a tokenizer, None without one."""
    for name in _TEMPLATE_FILES:
        path = adapter.folder / name
        if not path.is_file():
            continue
        with model_load_errors(adapter.label, "adapter", hint=f" ({path})"):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".jinja":
                return text
            template = json.loads(text).get("chat_template")
        if isinstance(template, str):
            return template
    return None


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
