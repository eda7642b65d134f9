"""The measure as a page and as JSON."""
