"""A seeded walk over a whole lane: what an operator and producers do, and what breaks meanwhile.

In: a seed and two counts. Out: the differences between what three doors tell (`--once`, the gateway, the
console) and what the servers hold, read by this package's own commands and queries and not by the product's.
"""
