"""What runs inside a ComfyUI server (or the embedded one). Imports nothing."""
