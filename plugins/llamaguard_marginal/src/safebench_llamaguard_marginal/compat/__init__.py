"""`compat=original`: the definitions of the first public implementation, literally.

Of "Token-Level Marginalization for Multi-Label LLM Classifiers" (arXiv 2511.22312).
They are kept to show what correcting them changes, and for nothing else.
"""
