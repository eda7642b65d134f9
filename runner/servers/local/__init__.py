"""Servers that a run launches by itself, watches, and ends."""
