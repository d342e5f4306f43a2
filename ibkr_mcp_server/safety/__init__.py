"""May this happen? Everything that stands between a request and the broker."""
