"""Measurements: ``python -m bench.compare`` beside the peers, and others for what one server costs.

They need Linux, two cores, and the extras ``test`` and ``bench``; docs/performance.md tells how to read them.
"""
