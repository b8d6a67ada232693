"""Guards as models: found, loaded, and run so that one pass reads many tree nodes.

`loading.load_guard` returns a guard that is ready; `hf_model.HfModel` runs it behind
the protocol of `safebench.verdict_tree`. A tree goes through the network as one row a
prompt (`per_prompt_session`), or one row a node (`per_node_session`) where a kernel
takes no mask.
"""
