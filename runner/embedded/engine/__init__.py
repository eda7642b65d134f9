"""Diffusion: checkpoints, text, sampling, and the patches that nodes put on a model."""
