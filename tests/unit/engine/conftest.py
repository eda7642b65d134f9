"""A very small random checkpoint, and a host that records instead of serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from defectforge.nodes import host
from defectforge.runner.embedded.engine.layout import UNetLayout
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint, load_checkpoint
from defectforge.runner.embedded.engine.random_weights.random_checkpoint import CheckpointLayout, write

TINY = UNetLayout(
    model_channels=32, channel_mult=(1, 2), num_res_blocks=(1, 1), transformer_depth=(1, 1), context_dim=64
)


class RecordingHost:
    """A host without a server: keeps what it was told."""

    name = "test"
    version = "0"

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.previews: list[Any] = []
        self.interrupt_at: int | None = None

    def device(self) -> torch.device:
        return torch.device("cpu")

    def progress(self, total: int) -> RecordingHost:
        return self

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.steps.append((value, total or 0))
        self.previews.append(preview)

    def check_interrupt(self) -> None:
        if self.interrupt_at is not None and len(self.steps) >= self.interrupt_at:
            raise InterruptedError("stopped by the test")


@pytest.fixture
def recording_host() -> Iterator[RecordingHost]:
    recorder = RecordingHost()
    host.install(recorder)  # type: ignore[arg-type]
    yield recorder
    host.install(None)


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "tiny.safetensors", layout=CheckpointLayout(TINY, text_layers=2))


@pytest.fixture(scope="session")
def checkpoint(checkpoint_file: Path) -> Checkpoint:
    return load_checkpoint(checkpoint_file)


@pytest.fixture(scope="session")
def prompts(checkpoint: Checkpoint) -> tuple[list[Any], list[Any]]:
    """A positive and a negative conditioning."""
    assert checkpoint.clip is not None
    return checkpoint.clip.encode("a hazelnut with a hole"), checkpoint.clip.encode("blurry")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
