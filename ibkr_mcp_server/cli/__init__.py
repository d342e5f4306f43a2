"""Door 3, the shell. Imports nothing by itself: each command loads only what it needs."""
