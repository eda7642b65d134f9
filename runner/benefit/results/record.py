"""The measure as JSON: everything that the page shows, and everything that decided it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from ...version import version
from ..detectors.base import Detector
from ..protocol.store import DRAWN, VARIANTS
from ..protocol.study import Result, Settings
from ..sets.generated import GeneratedSet
from ..sets.real import RealSet
from ..statistics.measures import NAMES

LIBRARIES = ("numpy", "scipy", "scikit-learn", "scikit-image", "torch")


def as_record(
    real: RealSet,
    sets: Sequence[GeneratedSet],
    detectors: Sequence[Detector],
    settings: Settings,
    results: Sequence[Result],
    differences: Sequence[dict[str, Any]],
    left_out: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """Plain JSON values only."""
    return {
        "defectforge": version(),
        "real": {
            "root": str(real.root),
            "category": real.category,
            "type": real.type,
            "good": len(real.good),
            "references": [_photo(photo) for photo in real.references],
            "test": [_photo(photo) for photo in real.test],
            "size": real.test[0].picture.shape[0],
            "notes": list(real.notes),
        },
        "generated": [
            {"name": s.name, "out": str(s.out), "pairs": len(s.pairs), "labels": s.labels(), "notes": s.notes}
            | {"manifest_sha256": hashlib.sha256((s.out / "manifest.jsonl").read_bytes()).hexdigest()}
            for s in sets
        ],
        "detectors": [detector.describe() for detector in detectors],
        "settings": {
            "k": list(settings.ks),
            "seeds": settings.seeds,
            "resamples": settings.resamples,
            "only": list(settings.only),
            "drawn": DRAWN,
            "augmented": VARIANTS,
        },
        "measures": NAMES,
        "rows": [
            {
                "k": result.row.k,
                "name": result.row.name,
                "generated": list(result.row.generated),
                "pairs": result.row.pairs,
                "figures": result.figures,
                "curve": result.curve,
            }
            for result in results
        ],
        "differences": list(differences),
        "left_out": list(left_out),
        "machine": {
            "python": platform.python_version(),
            "processor": platform.machine(),
            "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "seconds": round(seconds, 1),
    }


def _photo(photo: Any) -> dict[str, Any]:
    return {"name": photo.name, "sha256": photo.sha256, "has_mask": photo.truth is not None}
