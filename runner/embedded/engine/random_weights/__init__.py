"""Checkpoints of random weights, where no trained ones are at hand."""
