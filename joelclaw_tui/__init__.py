"""The operator's side: the full-screen console and the command line, on one runtime.

In: snapshots, items, runs and receipts, through `runtime.roles.operator`.
Out: screens, data on stdout, and intents; nothing in here decides what an action may do.
"""
