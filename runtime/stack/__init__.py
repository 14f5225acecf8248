"""The local servers: find or install them, start, watch, stop.

In: settings and the path of a lane file. Out: `LocalStack` (up, down, state, logs), the
`Targets` that every process talks to, and the doctor's checks.
"""
