"""Pure functions on tensors and arrays: no ComfyUI, no files outside their arguments, no logging."""
