"""Networks with one output: made from a base, given adapters, saved and read back.

Most are the library's sequence classifiers. `MeanPoolingCost` is for sentence encoders:
they are trained with mean pooling, and the state of their first token says little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.auto import modeling_auto

from safebench.errors import ModelError
from safebench.torch_utils import ModelFolder, model_load_errors, quiet_transformers

from .encoding import PROMPT, RESPONSE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Family = Literal["encoder", "decoder"]
HEAD_NAMES = ("score", "classifier")
HEAD_FILE = "head.safetensors"  # of a mean-pooling network, beside its encoder


class _Float32Head(nn.Module):
    """A head that computes in float32, whatever the network under it uses."""

    def forward(self, *inputs: Tensor) -> Any:
        """Run the head outside of autocast, on float32 inputs."""
        with torch.autocast(inputs[0].device.type, enabled=False):
            return super().forward(*(x.float() for x in inputs))


def model_family(config: Any, label: str) -> Family:
    """Tell encoders (attention both ways, own pooling) from decoders (last token).

    Raises `ModelError` for a type that the library has no sequence classifier for.
    """
    kind = config.model_type
    if config.is_encoder_decoder or (
        kind not in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    ):
        raise ModelError(
            f"base {label!r} is of type {kind!r}, which cannot be a cost model; an "
            "encoder such as BERT or a decoder such as Llama or Qwen would work"
        )
    is_masked_lm = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "encoder" if is_masked_lm else "decoder"


def load_cost_network(
    folder: Path,
    label: str,
    *,
    dtype: torch.dtype = torch.float32,
    new_head: bool = False,
    layers: int = 0,
    key_mapping: dict[str, str] | None = None,
    **loading: Any,
) -> Any:
    """Return a sequence classifier with one output.

    With `new_head` its head may be missing from the files and starts at random;
    otherwise every weight must be there. `layers`, if not 0, is how many are kept.
    `key_mapping` maps patterns of stored names to this library's; `loading` goes to the
    library. Raises `ModelError` in one line.
    """
    changes = {"num_labels": 1} if new_head else {}
    changes |= {"num_hidden_layers": layers} if layers else {}
    network = ModelFolder(folder, label).network(
        "classifier",
        dtype=dtype,
        new_head=new_head,
        changes=changes,
        key_mapping=key_mapping,
        headless_hint="; it has no head: safebench train cost_model trains one",
        **loading,
    )
    if network.config.num_labels != 1:
        raise ModelError(
            f"model {label!r} tells {network.config.num_labels} classes apart; "
            "a cost model has one output"
        )
    keep_head_float32(network)
    return network


def head_name(network: Any) -> str:
    """Return the attribute of the head."""
    for name in HEAD_NAMES:
        if hasattr(network, name):
            return name
    raise ModelError(
        f"{type(network).__name__} has no head named {' or '.join(HEAD_NAMES)}"
    )


def keep_head_float32(network: Any) -> None:
    """Let the head compute in float32: bfloat16 costs tie where they should not."""
    head = getattr(network, head_name(network)).float()
    if not isinstance(head, _Float32Head):
        # The class is changed, and not the module replaced, so that weights keep
        # their names in files and adapters find the layer.
        kind = type(head)
        head.__class__ = type(f"Float32{kind.__name__}", (_Float32Head, kind), {})


def choose_padding(network: Any, tokenizer: Any) -> int:
    """Return the padding id, and note it in configuration and tokenizer.

    Decoders find the last real token as the last that is no padding, so padding may
    not be EOS, with which every text ends; masked as it is, any other token serves.
    """
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    if pad is None or (pad == eos and head_name(network) == "score"):
        spare = (tokenizer.unk_token_id, tokenizer.bos_token_id, 0, 1)
        pad = next(i for i in spare if i is not None and i != eos)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    network.config.pad_token_id = pad
    network.config.get_text_config().pad_token_id = pad
    return int(pad)


def add_adapters(network: Any, *, rank: int, alpha: int, dropout: float) -> Any:
    """Return the network with LoRA on all linear layers; the head is trained whole."""
    import peft

    config = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        modules_to_save=[head_name(network)],
    )
    with quiet_transformers():
        return peft.get_peft_model(network, config)


def forward_costs(network: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the cost of every row of a batch, (N,) float32."""
    costs: Tensor = network(**batch).logits[:, 0].float()
    return costs


@torch.inference_mode()
def predict_costs(network: Any, batches: Sequence[dict[str, Tensor]]) -> Tensor:
    """Return the costs of all rows of the batches, (N,) float32 on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    costs = [
        forward_costs(network, {k: v.to(device) for k, v in batch.items()}).cpu()
        for batch in batches
    ]
    return torch.cat(costs) if costs else torch.empty(0)


class MeanPoolingCost(nn.Module):
    """An encoder with one output; needs `sides`, (N, T): whose token each one is."""

    def __init__(self, body: Any, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(2 * body.config.hidden_size, 1)
        self.config = body.config

    def forward(self, sides: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return costs as logits (N, 1)."""
        states = self.body(**inputs).last_hidden_state  # (N, T, H)
        means = [masked_mean(states, sides == side) for side in (PROMPT, RESPONSE)]
        logits = self.score(self.dropout(torch.cat(means, dim=1)))
        return SequenceClassifierOutput(logits=logits)

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """Let the encoder's layers be computed again in the backward pass."""
        self.body.gradient_checkpointing_enable(**settings)

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """Do the same, by the name that the library has given it since."""
        self.body.activation_checkpointing_enable(**settings)


def masked_mean(states: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean state of the chosen tokens, (N, H); 0 where there are none."""
    weight = chosen.unsqueeze(-1).float()
    return (states.float() * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def load_mean_pooling(
    folder: Path,
    label: str,
    dtype: torch.dtype,
    *,
    layers: int = 0,
    new_head: bool = False,
) -> Any:
    """Return an encoder under the head that is stored beside it, or a new one."""
    changes = {"num_hidden_layers": layers} if layers else {}
    body = ModelFolder(folder, label).network("encoder", dtype=dtype, changes=changes)
    network = MeanPoolingCost(body)
    if not new_head:
        head = ModelFolder(folder, label).tensors(HEAD_FILE)
        with model_load_errors(label):
            network.score.load_state_dict(head)
    keep_head_float32(network)
    return network


def save_mean_pooling(network: MeanPoolingCost, folder: Path) -> None:
    """Save the encoder as Hugging Face libraries load it, and the head beside it."""
    network.body.save_pretrained(folder)
    head = {name: x.contiguous() for name, x in network.score.state_dict().items()}
    save_file(head, folder / HEAD_FILE)
