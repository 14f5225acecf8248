"""The clock: Dkron, or an embedded one behind the same REST API; the lane's schedules on it.

In: the lane file's schedules, a clock's address. Out: jobs applied and compared, fires asked for.
It knows when something should start, and nothing of what happens after the start.
"""
