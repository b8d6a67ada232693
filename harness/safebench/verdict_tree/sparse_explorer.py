"""Verdict trees of a model that lists a few next tokens, and no logits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError

from .explorer import ExploreOptions, TreeExplorer
from .sparse_logits import SparseSummarizer
from .sparse_model import SparseTreeModel

if TYPE_CHECKING:
    from .grammar import Grammar
    from .sparse_logits import Unlisted
    from .sparse_model import SparseModel
    from .vocabulary import Encode


class SparseExplorer(TreeExplorer):
    """A sparse model bound to a grammar: trees whose bounds stay exact.

    Every bound holds the value that the full distributions would give; it is as wide as
    what is not listed makes it (`SparseSummarizer`, which `unlisted` is for). There are
    no logits, log-normalisers or entropies. Raises OptionError for Monte Carlo samples,
    which need whole distributions, and for a draft, which needs the network.
    """

    no_numbers = "the engine gave no probabilities for this prompt"

    def __init__(
        self,
        model: SparseModel,
        grammar: Grammar,
        options: ExploreOptions | None = None,
        *,
        encode: Encode | None = None,
        unlisted: Unlisted = "auto",
    ) -> None:
        options = options or ExploreOptions()
        if options.mc_samples:
            raise OptionError("mc_samples draws from whole distributions, none is here")
        if options.draft_opener is not None:
            raise OptionError("a draft needs the network itself")
        summarize = SparseSummarizer(model, unlisted)
        super().__init__(
            SparseTreeModel(model),
            grammar,
            replace(options, top_k=min(options.top_k, model.top_k)),
            encode=encode,
            summarize=summarize,
        )
        self.unlisted = summarize.unlisted
        self._listed = model.top_k

    @property
    def meta(self) -> dict[str, Any]:
        """What all trees share, with what is said of tokens that are not listed."""
        listed = {"top_logprobs": self._listed, "unlisted": self.unlisted}
        return super().meta | {"listed": listed}
