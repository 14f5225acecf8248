"""The peers of `bench.queue`: one small driver a peer, run under the peer's own Python.

In: one JSON command a line on standard input (`bench.peers.wire`). Out: one JSON answer a line.
Nothing of this project but `wire` is imported here: the environments hold the peer and no more.
"""
