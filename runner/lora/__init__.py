"""Training of adapters (LoRA) from a few real defects (extra ``lora``); torch is allowed in this room."""
