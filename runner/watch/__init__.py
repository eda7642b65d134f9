"""What can be seen of a run: figures of each server, a log file, metrics, and the journal from another shell."""
