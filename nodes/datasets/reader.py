"""Categories, types and photos of a dataset, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from .disk import Disk
from .errors import ReadError
from .layouts import LAYOUTS, TEST, Layout, Shelf
from .masks import Mask, read_masks
from .names import GOOD, PART, listed, mask_stem, natural_key, nfc, shown, stem_of
from .pictures import Picture, read_photo


@dataclass(frozen=True)
class Photo:
    """One photo of a dataset and the masks that belong to it; no file has been opened."""

    path: Path
    category: str
    split: str
    type: str
    masks: tuple[Path, ...] = ()

    @property
    def relative(self) -> str:
        """The address ``<category>/<split>/<type>/<file>``, the same in every layout."""
        return f"{self.category}/{self.split}/{self.type}/{self.path.name}"

    def read(self) -> Picture:
        """The picture.

        Raises:
            ReadError: it cannot be read.
        """
        return read_photo(self.path)

    def read_mask(self, picture: Picture) -> Mask | None:
        """Where the defect (of the type `PART`: the part) is on the picture; None without a mask.

        Raises:
            ReadError: a mask cannot be read, or is none.
        """
        if not self.masks:
            return None
        return read_masks(self.masks, self.path, picture.stored, picture.orientation, of_part=self.type == PART)


@dataclass(frozen=True)
class Category:
    """One product of a dataset."""

    name: str
    folder: Path
    layout: Layout
    shelves: tuple[Shelf, ...]
    disk: Disk = field(repr=False)

    def types(self, split: str) -> list[str]:
        """The types of a split, in natural order."""
        return sorted({shelf.type for shelf in self.shelves if shelf.split == split}, key=natural_key)

    def defect_types(self) -> list[str]:
        """The types of test photos that are not good."""
        return [type_ for type_ in self.types(TEST) if type_ != GOOD]

    def photos(self, split: str, type_: str) -> list[Photo]:
        """All photos of a type, in natural order; none for a type that is not there.

        Raises:
            ReadError: a photo with two masks of one name.
        """
        return [self._photo(*place) for place in self._places(split, type_)]

    def photo(self, split: str, type_: str, index: int) -> Photo:
        """One of `photos`, without looking for the masks of the others; IndexError if there is none."""
        return self._photo(*self._places(split, type_)[index])

    def count(self, split: str, type_: str) -> int:
        """How many photos there are of a type."""
        return len(self._places(split, type_))

    def folders_of(self, split: str, type_: str) -> list[Path]:
        """The folders that hold the photos of a type."""
        return [shelf.folder for shelf in self.shelves if shelf.split == split and shelf.type == nfc(type_)]

    def with_masks_in(self, folder: Path) -> Category:
        """The same photos, with masks of somebody's own from a folder, in the places where theirs would be.

        Those of a type lie in the folder as its photos do in the dataset, ``<category>/<split>/<type>``, or with fewer
        of these steps; those of good parts, and only those, also right in it.
        """

        def own(shelf: Shelf) -> Shelf:
            name, split, type_ = self.folder.name, shelf.split, shelf.type
            places = [folder / name / split / type_, folder / split / type_, folder / name / type_, folder / type_]
            places += [folder / name, folder] if type_ == GOOD else []
            return replace(shelf, masks=tuple(place for place in places if place.is_dir()))

        return replace(self, shelves=tuple(map(own, self.shelves)))

    def _places(self, split: str, type_: str) -> list[tuple[Shelf, Path, Path | None]]:
        """Every photo of a type: its shelf, its file, and the mask that lies beside it."""
        shelves = [shelf for shelf in self.shelves if shelf.split == split and shelf.type == nfc(type_)]
        return [(shelf, *place) for shelf in shelves for place in self._files_of(shelf)]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """How the category is read and what it lacks; nothing for a whole category in MVTec AD's layout."""
        notes = []
        if self.layout.name != "mvtec-ad":
            remark = f"; it has {self.layout.remark}" if self.layout.remark else ""
            notes.append(f"{shown(str(self.folder))} is read as {self.layout.title}{remark}")
        if any(not shelf.deep for shelf in self.shelves) and self.disk.folders(self.folder):
            notes.append(f"its folders are not read: {listed(self.disk.folders(self.folder))}")
        for type_ in self.defect_types():
            if not any(shelf.masks for shelf in self.shelves if shelf.type == type_):
                notes.append(f"there are no masks for {shown(type_)}")
        return tuple(notes)

    def _files_of(self, shelf: Shelf) -> list[tuple[Path, Path | None]]:
        """The photos of a shelf, each with the mask that lies beside it."""
        files = self.disk.all_pictures(shelf.folder) if shelf.deep else self.disk.pictures(shelf.folder)
        by_stem = {(path.parent, stem_of(path.name)): path for path in files}
        beside: dict[Path, Path] = {}
        masks = set()
        for path in files:
            stem = mask_stem(path.name)
            photo = None if stem is None else by_stem.get((path.parent, stem))
            if photo is not None:
                beside[photo] = path
                masks.add(path)
        return [(path, beside.get(path)) for path in files if path not in masks]

    def _photo(self, shelf: Shelf, path: Path, beside: Path | None) -> Photo:
        masks: tuple[Path, ...] = ()
        for folder in shelf.masks:
            masks = masks or self._masks_in(folder, path, shelf)
        if not masks and beside is not None and shelf.type != GOOD:
            masks = (beside,)
        return Photo(path, self.name, shelf.split, shelf.type, masks)

    def _masks_in(self, folder: Path, photo: Path, shelf: Shelf) -> tuple[Path, ...]:
        """A photo's masks: named after it, or all that are in a folder named after it (MVTec LOCO)."""
        # Sharded photos have their masks in shards of the same name.
        shard = photo.parent.relative_to(shelf.folder)
        here = self.disk.folder(folder, *shard.parts)
        if here is None:
            return ()
        stem = stem_of(photo.name)
        for named in (self._index(here)[0].get(stem, []), self._index(here)[1].get(stem, [])):
            if len(named) > 1:
                raise ReadError(
                    "data.two_masks",
                    f"has {len(named)} masks of one name: {', '.join(shown(path.name) for path in named)}",
                    photo,
                    expected="one mask, or a folder of masks named after the photo",
                    mend="Take the one away that does not belong to it",
                )
            if named:
                return (named[0],)
        several = self.disk.folders(here).get(stem)
        return () if several is None else tuple(self.disk.pictures(several))

    def _index(self, folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """Masks of a folder by the photo's stem: those that call themselves masks, and those named like the photo."""
        known = self._indices.get(folder)
        if known is None:
            called: dict[str, list[Path]] = {}
            plain: dict[str, list[Path]] = {}
            for path in self.disk.pictures(folder):
                plain.setdefault(stem_of(path.name), []).append(path)
                stem = mask_stem(path.name)
                if stem is not None:
                    called.setdefault(stem, []).append(path)
            known = self._indices[folder] = (called, plain)
        return known

    @cached_property
    def _indices(self) -> dict[Path, tuple[dict[str, list[Path]], dict[str, list[Path]]]]:
        return {}


def read_category(disk: Disk, folder: Path, layouts: Sequence[Layout], name: str | None = None) -> Category | None:
    """A folder as a category in the first layout that it has; None when it has none of them."""
    for layout in layouts:
        shelves = layout.shelves(disk, folder)
        if shelves:
            return Category(nfc(name or folder.name), folder, layout, tuple(shelves), disk)
    return None


def categories(root: Path, disk: Disk | None = None, layout: Layout | None = None) -> dict[str, Category]:
    """The categories of a root by name (in NFC), in natural order; empty when it holds none, or is one itself.

    A folder of photos, or one in the anomalib Folder layout, is its own only category.

    Args:
        root: a folder.
        disk: how to look at it; by default without bounds.
        layout: the only layout to look for.

    Raises:
        OSError: a folder that may not be read.
    """
    disk = disk or Disk()
    layouts = [layout] if layout is not None else list(LAYOUTS)
    found = categories_in_trees(root, disk, layouts)
    if not found and not is_category(root, disk):
        whole = [entry for entry in layouts if entry.is_root]
        itself = read_category(disk, root, whole, root.resolve().name or "photos")
        found = {itself.name: itself} if itself is not None else {}
        found = found or _children(disk, root, [entry for entry in layouts if entry.name == "photos"])
    return found


def categories_in_trees(
    root: Path, disk: Disk, layouts: Sequence[Layout] = LAYOUTS, only: str | None = None
) -> dict[str, Category]:
    """Those of `categories` that are folders in `root` in a layout of several folders; `only` asks for one of them."""
    if is_category(root, disk):
        return {}
    return _children(disk, root, [entry for entry in layouts if entry.name != "photos"], only)


def _children(disk: Disk, root: Path, layouts: Sequence[Layout], only: str | None = None) -> dict[str, Category]:
    folders = {name: path for name, path in disk.folders(root).items() if only is None or name == nfc(only)}
    read = {name: read_category(disk, folder, layouts) for name, folder in folders.items()}
    return {name: category for name, category in read.items() if category is not None}


def is_category(folder: Path, disk: Disk | None = None) -> bool:
    """Whether a folder is one category by itself, so that the root is the folder above."""
    disk = disk or Disk()
    return read_category(disk, folder, [layout for layout in LAYOUTS if not layout.is_root]) is not None


def why_empty(root: Path, disk: Disk | None = None, layout: Layout | None = None) -> ReadError:
    """Why a root has no category, with the way out."""
    disk = disk or Disk()
    if is_category(root, disk):
        real = root.resolve()
        return ReadError(
            "data.is_category",
            "is the folder of one category",
            root,
            expected="the folder above it",
            mend=f"Set root to {shown(str(real.parent))} and category to '{shown(real.name)}'",
        )
    shapes = [layout] if layout is not None else list(LAYOUTS)
    expected = "; ".join(f"{entry.shape} ({entry.title})" for entry in shapes)
    inside = listed(disk.folders(root), 8) or "no folders"
    kind = f"in the layout {layout.title}" if layout is not None else "a dataset in a layout that is known"
    return ReadError("data.no_layout", f"is not {kind}; found {inside}", root, expected=expected)
