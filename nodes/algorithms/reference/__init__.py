"""Reference-only attention as pure functions on tensors."""
