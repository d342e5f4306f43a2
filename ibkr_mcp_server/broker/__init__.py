"""The way out: the only package that speaks to a broker."""
