"""One probe a boundary, each with its own deadline, and how its reading is told in the document.

In: a reader port. Out: an `Observation` (what was seen, when, how long it took, what went wrong)
and the boundary's part of the snapshot. A probe that hangs never delays or blanks another.
"""
