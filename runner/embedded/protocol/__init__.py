"""ComfyUI's HTTP and WebSocket interface."""
