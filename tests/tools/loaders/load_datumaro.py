"""DEST of `export --to datumaro` -> JSON: for each side and picture its masks together, classes and size."""

import json
import sys

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

found = Dataset.import_from(sys.argv[1], "datumaro")
labels = found.categories()[AnnotationType.label]
sides: dict = {}
for item in found:
    masks = [np.asarray(one.image, bool) for one in item.annotations]
    sides.setdefault(item.subset, {})[item.id] = {
        "pixels": np.flatnonzero(np.any(masks, 0)).tolist(),
        "classes": sorted({labels[one.label].name for one in item.annotations}),
        "size": list(item.media.data.shape[:2]),
        "attributes": sorted(item.attributes),
    }
print(json.dumps(sides))
