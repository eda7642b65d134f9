"""Figures of a detector's maps, and how sure they are."""
