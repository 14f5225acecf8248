"""What outlives a process and is nobody's backlog: the audit trail, signs of life, the last day by minute.

In: receipts, beats and readings. Out: the same, read back without changing anything.
Lives in the lane's Redis; the audit trail is appended to a local file too.
"""
