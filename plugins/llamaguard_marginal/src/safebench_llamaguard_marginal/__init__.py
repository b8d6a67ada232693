"""Generative guards read as verdict trees: the classifier `llamaguard`.

`prompt` renders and tokenizes what a guard is asked, `model` loads it and runs it,
`strategies` turn its recorded trees into judgements, and `compat` repeats the first
public implementation of some of them.

What is exported here is for other plugins that load or train the same guards; nothing
is imported before it is used, since this package is imported by every command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench import lazy_exports

if TYPE_CHECKING:
    from .identity import fingerprint, model_identity
    from .model.architecture import (
        max_prompt_tokens,
        pick_attention,
        pick_tree_layout,
        refuse_recurrent,
    )
    from .model.forward_pass import SelectiveLogitHead
    from .model.hf_model import HfModel
    from .model.loading import LoadedGuard, end_token_ids, load_guard
    from .model.model_files import locate_model
    from .model.token_bytes import token_bytes
    from .model.torch_logits import TorchLogitSummarizer
    from .model.verdict_grammar import (
        continuation_encoder,
        likeliest_opener,
        verdict_grammar,
    )
    from .options import GuardOptions
    from .prompt.chat_template import PromptError
    from .prompt.prompt_builder import PromptBuilder, shared_prefixes
    from .prompt.prompt_format import (
        ChatTemplateFormat,
        InstructFormat,
        LlamaGuardFormat,
        PromptFormat,
        RenderedPrompt,
        category_labels,
        pick_prompt_format,
    )
    from .prompt.tokenization import PromptEncoder, truncate

__all__ = [
    "ChatTemplateFormat",
    "GuardOptions",
    "HfModel",
    "InstructFormat",
    "LlamaGuardFormat",
    "LoadedGuard",
    "PromptBuilder",
    "PromptEncoder",
    "PromptError",
    "PromptFormat",
    "RenderedPrompt",
    "SelectiveLogitHead",
    "TorchLogitSummarizer",
    "category_labels",
    "continuation_encoder",
    "end_token_ids",
    "fingerprint",
    "likeliest_opener",
    "load_guard",
    "locate_model",
    "max_prompt_tokens",
    "model_identity",
    "pick_attention",
    "pick_prompt_format",
    "pick_tree_layout",
    "refuse_recurrent",
    "shared_prefixes",
    "token_bytes",
    "truncate",
    "verdict_grammar",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "fingerprint": "identity",
        "model_identity": "identity",
        "max_prompt_tokens": "model.architecture",
        "pick_attention": "model.architecture",
        "pick_tree_layout": "model.architecture",
        "refuse_recurrent": "model.architecture",
        "HfModel": "model.hf_model",
        "LoadedGuard": "model.loading",
        "end_token_ids": "model.loading",
        "load_guard": "model.loading",
        "SelectiveLogitHead": "model.forward_pass",
        "locate_model": "model.model_files",
        "token_bytes": "model.token_bytes",
        "TorchLogitSummarizer": "model.torch_logits",
        "continuation_encoder": "model.verdict_grammar",
        "likeliest_opener": "model.verdict_grammar",
        "verdict_grammar": "model.verdict_grammar",
        "GuardOptions": "options",
        "PromptBuilder": "prompt.prompt_builder",
        "shared_prefixes": "prompt.prompt_builder",
        "ChatTemplateFormat": "prompt.prompt_format",
        "InstructFormat": "prompt.prompt_format",
        "LlamaGuardFormat": "prompt.prompt_format",
        "PromptError": "prompt.chat_template",
        "PromptFormat": "prompt.prompt_format",
        "RenderedPrompt": "prompt.prompt_format",
        "category_labels": "prompt.prompt_format",
        "pick_prompt_format": "prompt.prompt_format",
        "PromptEncoder": "prompt.tokenization",
        "truncate": "prompt.tokenization",
    },
)
