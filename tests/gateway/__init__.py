"""The HTTP gateway over a real socket, with a real Valkey behind it."""
