"""Datasets in MVTec AD layout: photos in, pairs, journal and manifest out."""
