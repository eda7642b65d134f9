"""DEST, format, side -> JSON: for each picture the union of its masks and the classes, as supervision reads them."""

import json
import sys
from pathlib import Path

import numpy as np
import supervision as sv

dest, form, side = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if form == "yolo-seg":
    images, labels = (str(dest / kind / side) for kind in ("images", "labels"))
    found = sv.DetectionDataset.from_yolo(images, labels, str(dest / "data.yaml"), force_masks=True)
elif form == "coco":
    labels = str(dest / "annotations" / f"instances_{side}.json")
    found = sv.DetectionDataset.from_coco(str(dest / side), labels, force_masks=True)
else:
    found = sv.DetectionDataset.from_pascal_voc(str(dest / "JPEGImages"), str(dest / "Annotations"))
pictures = {}
for path, image, detections in found:
    pictures[Path(path).name] = {
        "size": list(image.shape[:2]),
        "pixels": [] if detections.mask is None else np.flatnonzero(detections.mask.any(0)).tolist(),
        "boxes": np.asarray(detections.xyxy).round(3).tolist(),
        "classes": sorted({found.classes[i] for i in detections.class_id}),
    }
print(json.dumps(pictures))
