"""Rewrites a network for serving: the same function of its inputs in fewer and faster operations.

The network keeps its class and its methods; only its layers are replaced, once, when it is loaded. `arithmetic` says
in which order, one module per rewriting. What they do decides the last bits of every answer, so together they have a
version, `NUMERICS`.
"""
