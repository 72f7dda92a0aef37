"""The servers that sockbridge is measured beside: what they are, how each is built and started.

Nothing is exported here; see ``bench/peers/registry.py``.
"""
