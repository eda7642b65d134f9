"""What a run is to make: photos, jobs, and the waiting line."""
