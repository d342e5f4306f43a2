"""Alerts: which events people are told of, in which words, how often, and by which channels."""
