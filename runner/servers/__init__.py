"""Talking to servers: HTTP and WebSocket, uploads, jobs in flight, what came back."""
