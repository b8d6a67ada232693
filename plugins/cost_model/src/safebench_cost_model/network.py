"""Networks with one output: made from a base, given adapters, saved and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto import modeling_auto

from safebench.errors import ModelError
from safebench.neural.loading import one_line, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Family = Literal["encoder", "decoder"]
HEADS = ("score", "classifier")


class _InFloat32(nn.Module):
    """A head that computes in float32, whatever the network under it uses."""

    def forward(self, *inputs: Tensor) -> Any:
        """Run the head outside of autocast, on float32 inputs."""
        with torch.autocast(inputs[0].device.type, enabled=False):
            return super().forward(*(x.float() for x in inputs))


def family_of(config: Any, label: str) -> Family:
    """Tell encoders (read both ways, own pooling) from decoders (last token)."""
    kind = config.model_type
    if config.is_encoder_decoder or (
        kind not in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    ):
        raise ModelError(
            f"base {label!r} is of type {kind!r}, which cannot be a cost model; an "
            "encoder such as BERT or a decoder such as Llama or Qwen would work"
        )
    masked = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "encoder" if masked else "decoder"


def load_config(folder: Path, label: str) -> Any:
    """Return the configuration of a model folder."""
    with quiet(), one_line(label):
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


def load_network(
    folder: Path,
    label: str,
    *,
    dtype: torch.dtype = torch.float32,
    new_head: bool = False,
    layers: int = 0,
    renamed: dict[str, str] | None = None,
) -> Any:
    """Return a sequence classifier with one output.

    With `new_head` its head may be missing from the files and starts at random;
    otherwise every weight must be there. `layers`, if not 0, is how many are kept.
    `renamed` maps patterns of stored names to this library's. Raises ModelError in one
    line.
    """
    load: Any = transformers.AutoModelForSequenceClassification.from_pretrained
    extra = {"num_labels": 1} if new_head else {}
    extra |= {"num_hidden_layers": layers} if layers else {}
    with quiet(), one_line(label):
        network, report = load(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            key_mapping=renamed,
            **extra,
        )
    missing = sorted(report["missing_keys"])
    lost = [key for key in missing if not (new_head and _of_head(key))]
    if lost:
        hint = (
            "; it has no head: safebench train cost_model trains one"
            if all(_of_head(key) for key in lost)
            else ""
        )
        raise ModelError(
            f"model {label!r}: {len(lost)} weights are not in its files, first "
            f"{lost[0]}{hint}"
        )
    if network.config.num_labels != 1:
        raise ModelError(
            f"model {label!r} tells {network.config.num_labels} classes apart; "
            "a cost model has one output"
        )
    keep_head_exact(network)
    return network


def _of_head(key: str) -> bool:
    """Tell weights that a base need not have: those of the head and of its pooling."""
    return key.partition(".")[0] in HEADS or ".pooler." in f".{key}"


def head_name(network: Any) -> str:
    """Return the attribute of the head."""
    for name in HEADS:
        if hasattr(network, name):
            return name
    raise ModelError(f"{type(network).__name__} has no head named {' or '.join(HEADS)}")


def keep_head_exact(network: Any) -> None:
    """Let the head compute in float32: bfloat16 costs tie where they should not."""
    head = getattr(network, head_name(network)).float()
    if not isinstance(head, _InFloat32):
        kind = type(head)
        head.__class__ = type(f"Float32{kind.__name__}", (_InFloat32, kind), {})


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


def with_adapters(network: Any, *, rank: int, alpha: int, dropout: float) -> Any:
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
    with quiet():
        return peft.get_peft_model(network, config)


def load_adapters(network: Any, folders: Mapping[str, Path], label: str) -> Any:
    """Return the network with stored adapters and their heads by name.

    The first ones are in use.
    """
    import peft

    first, *others = folders
    with quiet(), one_line(label):
        network = peft.PeftModel.from_pretrained(network, folders[first], first)
        for name in others:
            network.load_adapter(folders[name], name)
    return network


def costs_of(network: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the cost of every row of a batch, (N,) float32."""
    costs: Tensor = network(**batch).logits[:, 0].float()
    return costs


@torch.inference_mode()
def score(network: Any, batches: Sequence[dict[str, Tensor]]) -> Tensor:
    """Return the costs of all rows of the batches, (N,) float32 on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    found = [
        costs_of(network, {k: v.to(device) for k, v in batch.items()}).cpu()
        for batch in batches
    ]
    return torch.cat(found) if found else torch.empty(0)
