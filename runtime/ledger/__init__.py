"""What outlives a process and is nobody's backlog: the audit trail and signs of life.

In: receipts and beats. Out: the same, read back without changing anything.
Lives in the lane's Redis; the audit trail is appended to a local file too.
"""
