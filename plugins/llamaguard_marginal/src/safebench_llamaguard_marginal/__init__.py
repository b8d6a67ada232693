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
    from safebench_llamaguard_marginal.model.architecture import (
        max_prompt_tokens,
        pick_attention,
        pick_tree_layout,
        refuse_recurrent,
    )
    from safebench_llamaguard_marginal.model.forward_pass import SelectiveLogitHead
    from safebench_llamaguard_marginal.model.hf_model import HfModel
    from safebench_llamaguard_marginal.model.loading import (
        LoadedGuard,
        end_token_ids,
        load_guard,
        pick_prompt,
    )
    from safebench_llamaguard_marginal.model.model_files import locate_model
    from safebench_llamaguard_marginal.model.token_bytes import token_bytes
    from safebench_llamaguard_marginal.model.torch_logits import TorchLogitSummarizer
    from safebench_llamaguard_marginal.model.verdict_grammar import (
        continuation_encoder,
        likeliest_opener,
        verdict_grammar,
    )
    from safebench_llamaguard_marginal.prompt.chat_template import PromptError
    from safebench_llamaguard_marginal.prompt.profile_format import (
        instruct_format,
        pick_prompt_format,
    )
    from safebench_llamaguard_marginal.prompt.prompt_builder import (
        PromptBuilder,
        shared_prefixes,
    )
    from safebench_llamaguard_marginal.prompt.prompt_format import (
        ChatTemplateFormat,
        LlamaGuardFormat,
        PromptFormat,
        RenderedPrompt,
        category_labels,
    )
    from safebench_llamaguard_marginal.prompt.tokenization import (
        PromptEncoder,
        truncate,
    )

    from .identity import fingerprint, model_identity
    from .options import GuardOptions

__all__ = [
    "ChatTemplateFormat",
    "GuardOptions",
    "HfModel",
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
    "instruct_format",
    "likeliest_opener",
    "load_guard",
    "locate_model",
    "max_prompt_tokens",
    "model_identity",
    "pick_attention",
    "pick_prompt",
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
        "pick_prompt": "model.loading",
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
        "instruct_format": "prompt.profile_format",
        "LlamaGuardFormat": "prompt.prompt_format",
        "PromptError": "prompt.chat_template",
        "PromptFormat": "prompt.prompt_format",
        "RenderedPrompt": "prompt.prompt_format",
        "category_labels": "prompt.prompt_format",
        "pick_prompt_format": "prompt.profile_format",
        "PromptEncoder": "prompt.tokenization",
        "truncate": "prompt.tokenization",
    },
)
