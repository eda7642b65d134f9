"""What a run has made: its folder, journal, commits and manifest."""
