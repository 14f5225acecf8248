"""Isolated runs: clean tree, agent, patch, verification, artifact, promotion, and the shim that owns a run.

In: runs to launch and artifacts to decide about, through the ports of `runtime.model`. Out: what is in the
run and artifact folders under the state folder. Nothing an agent wrote is ever executed or trusted out here.
"""
