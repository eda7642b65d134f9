"""From model files to models: what a file holds, and what it becomes."""
