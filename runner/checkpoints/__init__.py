"""The table of models, how each file is had, and the miniature that is rebuilt here."""
