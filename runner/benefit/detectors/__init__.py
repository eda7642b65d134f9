"""Detectors (torch): each takes good photos and pools of labelled defects, and gives maps of anomaly."""
