"""DEST of `export --to coco`, side -> JSON: for each picture the union of its masks, and its boxes and areas."""

import json
import sys

import numpy as np
from pycocotools.coco import COCO

dest, side = sys.argv[1:3]
coco = COCO(f"{dest}/annotations/instances_{side}.json")
pictures = {}
for image in coco.loadImgs(coco.getImgIds()):
    own = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
    masks = [coco.annToMask(annotation) for annotation in own]
    rows, columns = np.nonzero(masks[0])
    pictures[image["file_name"]] = {
        "pixels": np.flatnonzero(np.any(masks, 0)).tolist(),
        "areas": [[int(mask.sum()), annotation["area"]] for mask, annotation in zip(masks, own, strict=True)],
        "box": [own[0]["bbox"], [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]],
        "class": coco.loadCats(own[0]["category_id"])[0]["name"],
    }
print(json.dumps(pictures))
