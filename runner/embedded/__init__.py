"""A local server that speaks ComfyUI's protocol, for a machine without ComfyUI (extra ``embedded``)."""
