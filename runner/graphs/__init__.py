"""Workflow files: read, converted to the queue form, addressed by title, checked against a server."""
