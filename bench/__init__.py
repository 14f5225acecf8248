"""Measurements: ``python -m bench.NAME [--quick] [--json]``. Figures live here, never in timed tests.

In: nothing but this machine; each starts its own servers in a temporary folder and stops them.
Out: one document whose ``figures`` map names to numbers, with medians, spread, versions and machine.
"""
