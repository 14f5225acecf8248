"""What a node does: one module a handler, all behind `run_handler`.

In: a `HandlerCall` (the run's request, its family as declared now). Out: a small JSON value, or a
`HandlerFailure` that says whether another try may help.
"""

from __future__ import annotations

from runtime.durable.handlers.base import HandlerCall, HandlerFailure, Json
from runtime.durable.handlers.dispatch import Handlers, waited_for

__all__ = ["HandlerCall", "HandlerFailure", "Handlers", "Json", "waited_for"]
