"""The demo, whole: from nothing to a contact sheet, with a checkpoint that the program writes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.commands.running.demo import NUTS, SIZE, best_generated
from defectforge.runner.errors import OK
from PIL import Image


@pytest.mark.slow
def test_the_demo_paints_inside_the_masks_and_nowhere_else(cli: Any, tmp_path: Path, pairs: Any) -> None:
    done = cli("demo", "--out", tmp_path / "demo")
    assert done.returncode == OK, done.stderr
    found = pairs(tmp_path / "demo" / "pairs")
    found.assert_whole(NUTS)
    for record in found.records:
        source = np.asarray(Image.open(tmp_path / "demo" / "nuts" / record["source"]["file"]).convert("RGB"))
        image = np.asarray(Image.open(found.out / record["image"]["path"]))
        mask = np.asarray(Image.open(found.out / record["mask"]["path"])) > 0
        changed = (image != source).any(-1)
        assert image.shape == (SIZE, SIZE, 3)
        assert changed[mask].mean() > 0.9
        # The denoise mask is grown and feathered, by a few pixels: beyond that nothing may change.
        rows, columns = np.nonzero(mask)
        far = np.ones_like(mask)
        far[max(0, rows.min() - 48) : rows.max() + 49, max(0, columns.min() - 48) : columns.max() + 49] = False
        assert not changed[far].any()
        assert record["models"][0]["sha256_from"] == "file"
        assert record["model"] == best_generated()
    sheet = Image.open(tmp_path / "demo" / "contact-sheet.png")
    assert sheet.width > 1000
    assert "contact-sheet.png" in done.stderr
