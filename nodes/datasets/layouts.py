"""The one place where a layout of a dataset is known: which folders hold which photos, and where their masks are.

A layout is found by what is there. Whatever a dataset calls its parts, they are addressed alike: a *split* (``train``
or ``test``) and a *type*, of which ``good`` means a part without a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .disk import Disk
from .names import GOOD, GOOD_NAMES, nearest, nfc

TRAIN, TEST = "train", "test"
SPLITS = (TRAIN, TEST)

#: Folders of masks: MVTec's name, then what the anomalib Folder layout is used with.
_GROUND_TRUTH = "ground_truth"
_MASK_FOLDERS = ("mask", "masks", _GROUND_TRUTH, "gt", "label", "labels")


@dataclass(frozen=True)
class Shelf:
    """The photos of one type in one split of a category.

    Attributes:
        split: ``train`` or ``test``.
        type: ``good``, or the defect's folder name in NFC.
        folder: holds the photos.
        masks: folders that may hold their masks, in order of preference; empty for good parts.
        deep: whether the photos may lie in subfolders.
    """

    split: str
    type: str
    folder: Path
    masks: tuple[Path, ...] = ()
    deep: bool = True


@dataclass(frozen=True)
class Layout:
    """One way to lay out a category.

    Attributes:
        name: what ``--layout`` takes.
        title: how people call it.
        shape: its folders, for messages and the docs.
        remark: what a category in it never has, or what of it is not read, as a sentence's end; may be empty.
        is_root: whether a root may be one category itself, named after its folder.
        shelves: the shelves of a folder; none when the folder is not laid out like this.
    """

    name: str
    title: str
    shape: str
    remark: str
    is_root: bool
    shelves: Callable[[Disk, Path], list[Shelf]]


def _split_tree(disk: Disk, category: Path, test: str = TEST, good: str = GOOD) -> list[Shelf]:
    """``<split>/<type>`` with the masks in ``ground_truth/<type>`` of the category or of the split."""
    shelves = []
    for split, folder in ((TRAIN, disk.folder(category, TRAIN)), (TEST, disk.folder(category, test))):
        for name, photos in () if folder is None else disk.folders(folder).items():
            if name.lower() == _GROUND_TRUTH:
                continue
            type_ = GOOD if name.lower() == good else name
            places = [disk.folder(place, _GROUND_TRUTH, name) for place in (category, photos.parent)]
            without = type_ == GOOD or split == TRAIN
            masks = () if without else tuple(place for place in places if place is not None)
            shelves.append(Shelf(split, type_, photos, masks))
    return shelves


def _mvtec_ad(disk: Disk, category: Path) -> list[Shelf]:
    return _split_tree(disk, category)


def _mvtec_ad_2(disk: Disk, category: Path) -> list[Shelf]:
    if disk.folder(category, "test_public") is None:
        return []
    return _split_tree(disk, category, test="test_public")


def _mvtec_loco(disk: Disk, category: Path) -> list[Shelf]:
    """Its masks are folders, one for each photo."""
    shelves = _mvtec_ad(disk, category)
    several = any(disk.folders(masks) and not disk.pictures(masks) for shelf in shelves for masks in shelf.masks)
    named = any(shelf.type in ("logical_anomalies", "structural_anomalies") for shelf in shelves)
    return shelves if several or named else []


def _btad(disk: Disk, category: Path) -> list[Shelf]:
    if any(disk.folder(category, split, GOOD) is not None for split in SPLITS):
        return []
    shelves = _split_tree(disk, category, good="ok")
    return shelves if any(shelf.type == GOOD or shelf.type.lower() == "ko" for shelf in shelves) else []


def _visa(disk: Disk, category: Path) -> list[Shelf]:
    """As it is downloaded; converted by its authors' script it has MVTec AD's shape."""
    images = disk.folder(category, "Data", "Images")
    if images is None:
        return _split_tree(disk, category)
    shelves = []
    for name, photos in disk.folders(images).items():
        if name.lower() in GOOD_NAMES:
            shelves.append(Shelf(TRAIN, GOOD, photos))
            continue
        masks = disk.folder(category, "Data", "Masks", name)
        shelves.append(Shelf(TEST, name, photos, () if masks is None else (masks,)))
    return shelves


def _anomalib_folder(disk: Disk, category: Path) -> list[Shelf]:
    """``good``, a folder for each type of defect, and their masks in ``mask/<type>``."""
    folders = disk.folders(category)
    if not any(name.lower() in GOOD_NAMES for name in folders) or disk.pictures(category):
        return []
    place = next((found for name in _MASK_FOLDERS if (found := disk.folder(category, name)) is not None), None)
    types = {name: path for name, path in folders.items() if name.lower() not in _MASK_FOLDERS}
    defects = [name for name in types if not _is_good_folder(name)]
    shelves = []
    for name, photos in types.items():
        if _is_good_folder(name):
            shelves.append(Shelf(TRAIN if name.lower() in GOOD_NAMES else TEST, GOOD, photos))
            continue
        masks = None if place is None else disk.folder(place, name)
        if masks is None and place is not None and len(defects) == 1 and disk.pictures(place):
            # The masks of the only type need no folder of their own.
            masks = place
        shelves.append(Shelf(TEST, name, photos, () if masks is None else (masks,)))
    return shelves


def _is_good_folder(name: str) -> bool:
    """``good`` and, for testing, ``good_test`` or ``normal_test``."""
    return name.lower().removesuffix("_test") in GOOD_NAMES


def _photos(disk: Disk, category: Path) -> list[Shelf]:
    return [Shelf(TRAIN, GOOD, category, deep=False)] if disk.pictures(category) else []


#: In the order in which they are tried: the particular ones first.
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "mvtec-ad-2",
        "MVTec AD 2",
        "<category>/{train/good, test_public/{good,bad}, test_public/ground_truth/bad}",
        "no labels for its private test sets, which are not read, nor is its validation split",
        False,
        _mvtec_ad_2,
    ),
    Layout(
        "mvtec-loco",
        "MVTec LOCO AD",
        "<category>/{train/good, test/<type>, ground_truth/<type>/<photo>/000.png}",
        "a validation split, which is not read",
        False,
        _mvtec_loco,
    ),
    Layout("btad", "BTAD", "<category>/{train/ok, test/{ok,ko}, ground_truth/ko}", "", False, _btad),
    Layout("mvtec-ad", "MVTec AD", "<category>/{train/good, test/<type>, ground_truth/<type>}", "", False, _mvtec_ad),
    Layout(
        "visa",
        "VisA",
        "<category>/Data/{Images/Normal, Images/Anomaly, Masks/Anomaly}, or converted as MVTec AD",
        "no kinds of defects (all are one type) and no good photos set apart for testing",
        False,
        _visa,
    ),
    Layout(
        "anomalib-folder",
        "anomalib Folder",
        "<category>/{good, <type>, mask/<type>}",
        "no good photos set apart for testing, unless there is a good_test",
        True,
        _anomalib_folder,
    ),
    Layout(
        "photos",
        "a plain folder of good photos",
        "<category>/*.png",
        "no defect photos, no masks and no test split: nothing to take a reference from",
        True,
        _photos,
    ),
)
NAMES = tuple(layout.name for layout in LAYOUTS)


def layout_named(name: str) -> Layout:
    """Raises ValueError, with the nearest name, for a layout that is not known."""
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise ValueError(f"layout: '{nfc(name)}' is unknown; {nearest(name, NAMES)}")
