"""Strategies on recorded verdict trees, each a pure function of a batch of evidence.

A strategy is a function of its own name, ``name(evidence, context) -> Judgements``;
`catalog` declares them all. They differ in what they sum over: `marginal` over every
way to write a verdict, `canonical_spelling` over the tokens that the tokenizer would
use, `greedy_verdict` over the one verdict that the guard would write.
"""
