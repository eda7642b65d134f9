"""What runs on the client: reads workflows, talks to ComfyUI servers, writes datasets. Imports no torch and no node."""
