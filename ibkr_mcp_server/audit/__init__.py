"""The audit log: what happened, in a chain that shows when it was tampered with. Imports nothing by itself."""
