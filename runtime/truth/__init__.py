"""The read side: one probe file a boundary -> `Snapshot` -> findings (one table) -> verdict.

In: the readers of the boundaries, the lane, the settings and the time, as ports.
Out: the snapshot document and look-ups. Nothing in here writes anything anywhere.
"""
