"""DEST/<side> of `export --to fiftyone` -> JSON: each picture's mask, by FiftyOne's importer, without a database."""

import json
import sys
from pathlib import Path

import numpy as np
from fiftyone.utils.data.importers import ImageSegmentationDirectoryImporter

importer = ImageSegmentationDirectoryImporter(dataset_dir=sys.argv[1], force_grayscale=True)
pictures = {}
with importer:
    for path, _, label in importer:
        mask = label.get_mask()
        pictures[Path(path).name] = {"pixels": np.flatnonzero(mask).tolist(), "values": np.unique(mask).tolist()}
print(json.dumps(pictures))
