"""The wire to Redis or Valkey: one server or a cluster, over TLS or a socket; scripts sent by their hash.

In: an address. Out: a client (`connection.connect`), and errors in the operator's words.
"""
