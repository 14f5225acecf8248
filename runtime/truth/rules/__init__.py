"""What can be wrong, a file a boundary: functions from `Facts` to sightings, without memory.

In: the facts of one snapshot. Out: sightings, which `runtime.truth.findings` lists in its one table.
A rule speaks only of what was read just now: what can't be read is no finding but an unknown.
"""
