"""What trips the circuit breaker: one file for each trigger, pure functions of the figures; `table.py` lists them."""
