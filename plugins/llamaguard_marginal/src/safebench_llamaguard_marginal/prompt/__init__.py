"""Prompts of a guard: formats, tokenization, truncation to the model's length.

`prompt_builder.PromptBuilder` goes from a sample to token ids; `prompt_format` renders
the text around the conversation, and `tokenization` encodes and shortens it.
"""
