"""The reader of datasets: layouts, names, pictures, masks."""
