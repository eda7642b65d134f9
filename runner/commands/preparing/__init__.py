"""From a request to servers and a checked plan, before anything is queued."""
