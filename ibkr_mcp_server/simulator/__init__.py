"""The built-in paper gateway: a small TWS on a socket. Knows nothing of the adapter that connects to it."""
