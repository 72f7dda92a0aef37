"""Measurements: ``python -m bench.echo``, ``bench.leaks``, ``bench.idle``, ``bench.shutdown``.

They need Linux, two cores, and the extras ``test`` and ``bench``; docs/performance.md tells how to read them.
"""
