"""What plugins share that run PyTorch models.

The core neither imports this package nor depends on torch or transformers: whoever
imports it declares them.
"""
