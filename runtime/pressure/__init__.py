"""The pressure layer: what waits, in Redis or Valkey.

In: intake (payloads at the door), claims of drainers, settlements of runs, an operator's control.
Out: leases, readings and pages that change nothing. Every transition inside a family is one script.
"""
