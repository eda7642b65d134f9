"""Attaching references to a MODEL: what it carries, and what a sampling run does with it."""
