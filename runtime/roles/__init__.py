"""The composition root: worker, drainer and gateway as processes, and what an operator is handed.

In: settings and a lane file. Out: rooms with their ports filled, run until told to stop.
Nothing else in the runtime knows which class stands behind a port.
"""
