"""The words of the trade: frozen data without I/O. Imports nothing else of ours."""
