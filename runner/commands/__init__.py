"""What each command does, one file a command: rooms as in `cli`, and what they share in `requests` and `preparing`."""
