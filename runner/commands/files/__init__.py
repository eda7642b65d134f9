"""Commands about the files that come along or are fetched: models and workflows."""
