"""A Hugging Face causal model behind the protocol of `safebench.verdict_tree`.

A batch is one prefill and one forward pass a level of the trees. How nodes are laid out
in a pass is the session's matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .forward_pass import CachedNetwork
from .per_node_session import PerNodeSession
from .per_prompt_session import PerPromptSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.typing import Array

    from .architecture import TreeLayout


class HfModel(CachedNetwork):
    """A `NextTokenModel` that can also read a draft: a `CachedNetwork` with sessions.

    `token_bytes` (V,) are the bytes of every token, `eos` the ids that end a verdict.
    """

    def __init__(
        self,
        network: Any,
        token_bytes: Sequence[bytes],
        eos: Iterable[int],
        prefixes: Iterable[Sequence[int]] = (),
        tree_layout: TreeLayout = "tree",
    ) -> None:
        super().__init__(network, prefixes, tree_layout)
        self.token_bytes = token_bytes
        self.eos = frozenset(eos)

    def open(
        self, prompts: Sequence[Sequence[int]]
    ) -> PerPromptSession | PerNodeSession:
        """Prefill prompts in one forward pass."""
        checked = _as_prompts(prompts)
        if self.tree_layout == "rows":
            return PerNodeSession(self, checked)
        return PerPromptSession(self, checked)

    def open_with_draft(
        self, prompts: Sequence[Sequence[int]], parents: Array, tokens: Array
    ) -> PerPromptSession:
        """Prefill prompts, each with a static tree after it, in one forward pass."""
        assert self.tree_layout == "tree", "no mask can keep a draft's branches apart"
        return PerPromptSession(self, _as_prompts(prompts), parents, tokens)


def _as_prompts(prompts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    assert prompts, "a session needs a prompt"
    assert all(prompts), "an empty prompt has no next token"
    return [tuple(prompt) for prompt in prompts]
