"""A very small random checkpoint, and a few drawn nuts with a defect that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from defectforge.runner.cli import cli
from defectforge.runner.embedded.engine.layout import UNetLayout
from defectforge.runner.embedded.engine.random_weights.random_checkpoint import CheckpointLayout, write
from defectforge.runner.nuts import write_dataset

Train = Callable[..., Result]


def layout(in_channels: int = 4, width: int = 32) -> CheckpointLayout:
    unet = UNetLayout(
        in_channels=in_channels,
        model_channels=width,
        channel_mult=(1, 2),
        num_res_blocks=(1, 1),
        transformer_depth=(1, 1),
        context_dim=64,
    )
    return CheckpointLayout(unet, text_layers=2)


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "tiny.safetensors", layout=layout())


@pytest.fixture(scope="session")
def nuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_dataset(root, n_good=3, n_defect=2, size=96, seed=40, kinds=("stain",))
    return root


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    monkeypatch.setenv("DEFECTFORGE_MODELS", str(tmp_path_factory.mktemp("cache") / "models"))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def train(nuts: Path, checkpoint_file: Path) -> Train:
    """`defectforge lora` on the nuts, small and short."""

    def run(out: Path, *options: Any, data: Path = nuts, model: Path = checkpoint_file, type_: str = "stain") -> Result:
        line = ["lora", "--data", data, "--type", type_, "--model", model, "--out", out, "--threads", 1]
        line += ["--size", 64, "--batch", 1, "--rank", 4, "--learning-rate", 0.01, "--device", "cpu", *options]
        return CliRunner().invoke(cli, [str(part) for part in line], standalone_mode=False)

    return run
