"""One pane a boundary, on one base pane: backlog (pressure), schedule (clock),
journal (durable), artifacts (sandbox).
In comes the view (the latest snapshot and its age); a pane renders nothing else.
Out go intents and requests to open a family, a schedule, an item, a run or an artifact.
"""
