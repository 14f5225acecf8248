"""The runtime that the console operates: queue, durable runs, their truth and their control.

In: settings, a lane file, servers' addresses. Out: snapshots, actions with receipts, work done.
Imports go down only (see ``[tool.importlinter]`` in pyproject.toml); nothing here knows Textual.
"""
