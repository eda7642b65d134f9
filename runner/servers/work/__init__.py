"""What a server's worker is made of: jobs in flight there, their verdicts, fetching, committing, the breaker."""
