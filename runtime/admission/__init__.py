"""From pressure to durable: the drainer admits, the reconciler mends what a crash left.

In: the queue, a way to start runs and to ask after them, signs of life. Out: runs in flight,
settled rows, and a beat that says what this process sees. Several of them work side by side.
"""
