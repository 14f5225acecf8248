"""Durable execution on Restate: `WorkRun`, its handlers, the ingress and the journal clients.

In: run requests from admission, looks and verbs from truth and actions. Out: settled runs through a
`Settler`, and what Restate knows of them. Only `workflow` and `schedule` import the SDK, which is slow to import.
"""
