"""The outputs of finished runs: read without changing them, and joined."""
