"""DEST/<category> of `export --to anomalib` -> JSON: what `Folder` gives for training and test."""

import json
import sys

import numpy as np
from anomalib.data import Folder

root, type_ = sys.argv[1:3]
data = Folder(
    name="mine",
    root=root,
    normal_dir="train/good",
    abnormal_dir=f"test/{type_}",
    normal_test_dir="test/good",
    mask_dir=f"ground_truth/{type_}",
    train_batch_size=1,
    eval_batch_size=1,
    num_workers=0,
    val_split_mode="none",
)
data.setup()
sides = {}
for side, dataset in (("train", data.train_data), ("test", data.test_data)):
    sides[side] = []
    for item in dataset:
        mask = None if item.gt_mask is None else np.flatnonzero(item.gt_mask.numpy().squeeze()).tolist()
        sides[side].append({"image": item.image_path, "is_defect": bool(item.gt_label), "pixels": mask})
print(json.dumps(sides))
