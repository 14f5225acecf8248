"""One pane a boundary, on one base pane: backlog (pressure), journal (durable).
In comes the view (the latest snapshot and its age); a pane renders nothing else.
Out go intents and requests to open a family, an item or a run.
"""
