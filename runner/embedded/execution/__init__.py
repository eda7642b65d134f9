"""Prompts, their order, what is kept between them, and the nodes they may name."""
