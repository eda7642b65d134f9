"""A small stand-in of comfy_api.latest, for a machine without ComfyUI."""
