"""What the core nodes compute where the two cores that can be followed differ, on a machine without either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from defectforge.runner.embedded import core_nodes, follows
from torch import Tensor

OLD = "0.3.64"


def run(node: str, **inputs: Any) -> Any:
    return core_nodes.load()[node].function(**inputs)[0]


@pytest.fixture
def as_before() -> Iterator[None]:
    before = follows.version()
    follows.use(OLD)
    yield
    follows.use(before)


def feathered(right: int) -> Tensor:
    return run("FeatherMask", mask=torch.ones(1, 2, 6), left=0, top=0, right=right, bottom=0)[0, 0]


def test_the_far_side_is_feathered_from_its_last_column():
    torch.testing.assert_close(feathered(4), torch.tensor([1, 1, 1, 0.75, 0.5, 0.25]))


def test_before_the_far_side_was_feathered_one_off(as_before):
    torch.testing.assert_close(feathered(4), torch.tensor([0.25, 1, 1, 1, 0.75, 0.5]))


RGB, RGBA = torch.full((1, 4, 4, 3), 0.5), torch.full((1, 4, 4, 4), 0.25)
MIXED = {
    "ImageCompositeMasked": {"destination": RGBA, "source": RGB, "x": 0, "y": 0, "resize_source": False},
    "ImageBlend": {"image1": RGBA, "image2": RGB, "blend_factor": 1.0, "blend_mode": "normal"},
    "ImageBatch": {"image1": RGBA, "image2": RGB},
}


@pytest.mark.parametrize("node", MIXED)
def test_an_image_without_alpha_is_opaque_beside_one_with_it(node):
    torch.testing.assert_close(run(node, **MIXED[node])[-1, 0, 0], torch.tensor([0.5, 0.5, 0.5, 1.0]))


@pytest.mark.parametrize("node", MIXED)
def test_before_that_failed(as_before, node):
    with pytest.raises(ValueError, match="4 channels, the other 3: give both RGB"):
        run(node, **MIXED[node])


@pytest.mark.parametrize("node", ["ImageCompositeMasked", "ImageBlend"])
def test_what_is_put_onto_an_image_without_alpha_loses_its_own(node):
    swapped = {"destination": RGB, "source": RGBA, "image1": RGB, "image2": RGBA}
    inputs = {name: swapped.get(name, value) for name, value in MIXED[node].items()}
    torch.testing.assert_close(run(node, **inputs)[0, 0, 0], torch.tensor([0.25, 0.25, 0.25]))


def test_grey_is_not_put_onto_a_picture_with_alpha():
    with pytest.raises(ValueError, match="4 channels, the other 1"):
        run("ImageBatch", image1=RGBA, image2=RGB[..., :1])


def test_alphas_are_joined_to_the_longer_batch():
    assert len(run("JoinImageWithAlpha", image=RGB, alpha=torch.zeros(3, 4, 4))) == 3


def test_before_they_were_joined_to_the_shorter(as_before):
    assert len(run("JoinImageWithAlpha", image=RGB, alpha=torch.zeros(3, 4, 4))) == 1


@pytest.mark.parametrize(
    ("first", "length", "taken"),
    [(0, 1, [0]), (1, 9, [1, 2, 3]), (99, 2, [3]), (-1, 1, [3]), (-3, 2, [1, 2]), (-99, 2, [0, 1])],
)
def test_a_negative_index_takes_latents_from_the_end_of_a_batch(first, length, taken):
    samples = torch.arange(4.0).reshape(4, 1, 1, 1)
    mask = 10 + samples
    part = run("LatentFromBatch", samples={"samples": samples, "noise_mask": mask}, batch_index=first, length=length)
    assert part["samples"].flatten().tolist() == taken
    assert part["noise_mask"].flatten().tolist() == [10 + place for place in taken]
    assert part["batch_index"] == taken
