"""Shared set-up: the clone is imported as the package `defectforge`, whatever its folder is called."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before torch is imported, here or in a process that a test starts: OpenMP threads that spin while they wait starve the
# servers that run beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if "defectforge" not in sys.modules:
    # As ComfyUI does it: by location, not by name, so that no install is needed and core's `nodes` stays core's.
    _spec = importlib.util.spec_from_file_location(
        "defectforge", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["defectforge"] = _module
    _spec.loader.exec_module(_module)

from defectforge.runner.embedded.api import standin  # noqa: E402

# The nodes import `comfy_api`; where no ComfyUI is importable its stand-in takes the place.
standin.install()


def _mvtec_root() -> Path | None:
    candidates = [os.environ.get("DEFECTFORGE_TEST_DATA"), str(ROOT.parent / "shared" / "data" / "mvtec")]
    for candidate in candidates:
        if candidate and (Path(candidate) / "hazelnut" / "test").is_dir():
            return Path(candidate)
    return None


@pytest.fixture(scope="session")
def mvtec_root() -> Path:
    """The real MVTec AD photos; the test is skipped where they are absent."""
    root = _mvtec_root()
    if root is None:
        pytest.skip("no MVTec AD photos here: set DEFECTFORGE_TEST_DATA to a folder that holds `hazelnut/`")
    return root


@pytest.fixture
def embedded_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The nodes' host is the embedded one for this test, without a server; gives the root of its folders."""
    from defectforge.nodes import host
    from defectforge.runner.embedded import folders
    from defectforge.runner.embedded.host import EmbeddedHost

    places = folders.Folders(
        **{kind: tmp_path / kind for kind in ("input", "output", "temp")}, models=[tmp_path / "models"]
    )
    places.create()
    monkeypatch.setattr(folders, "_current", places)
    monkeypatch.setattr(host, "_installed", EmbeddedHost("test", "cpu"))
    return tmp_path


@pytest.fixture(scope="session")
def write_captioner() -> Callable[[Path], None]:
    """Writes a captioning model into a folder."""

    def write(folder: Path) -> None:
        """A captioning model of BLIP's kind: tiny, random, and so without anything sensible to say."""
        import torch
        from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
        from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

        folder.mkdir(parents=True)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["a", "nut", "close", "up", "of", "with", "hole"]]
        (folder / "vocab.txt").write_text("\n".join(words))
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "sep_token_id": 3}
        config = BlipConfig(
            text_config={**size, **special, "vocab_size": len(words), "encoder_hidden_size": 32},
            vision_config={**size, "image_size": 32, "patch_size": 16},
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BlipForConditionalGeneration(config)
        BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
        model.save_pretrained(folder)

    return write
