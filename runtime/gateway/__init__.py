"""The HTTP gateway (``/v1``): intake of work, the snapshot, a sign of life.

In: requests, all of them hostile until checked; an intake and a reader, handed over by `roles`.
Out: 202 with the item's id, the snapshot document, and JSON errors that say what to do.
"""
