"""A record whose pixels come out otherwise: what is known to differ is said, and nothing is made up."""

from __future__ import annotations

from typing import Any

import pytest
from defectforge.runner.embedded import follows
from defectforge.runner.outputs import differences

#: A line of before the core was recorded.
OLD = {"kind": "embedded", "version": "0.1.0", "python": "3.12.1", "devices": ["cpu"]}


def server(core: str = follows.COMFYUI_VERSION, **changes: Any) -> dict[str, Any]:
    return {**OLD, "core": core, **changes}


def graph(sampler: str = "euler_ancestral") -> dict[str, Any]:
    return {"1": {"class_type": "KSampler", "inputs": {"sampler_name": sampler, "seed": 1}}}


def test_an_older_line_of_an_ancestral_sampler_names_the_rule_that_changed() -> None:
    (reason,) = differences.reasons(graph(), OLD, server())
    assert "0.3.64" in reason and "0.28.1" in reason and "seed + 1" in reason and "euler_ancestral" in reason
    assert "--follow 0.3.64" in differences.mend(OLD, server())


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "ddim", "dpmpp_sde", "dpmpp_2m_sde"])
def test_a_sampler_that_the_rule_does_not_touch_is_not_blamed(sampler: str) -> None:
    assert not any("seed + 1" in reason for reason in differences.reasons(graph(sampler), OLD, server()))


def test_on_a_gpu_the_noise_is_as_before() -> None:
    gpu = {**OLD, "devices": ["NVIDIA H100"]}
    assert not any("seed + 1" in r for r in differences.reasons(graph(), gpu, server(devices=["NVIDIA H100"])))


@pytest.mark.parametrize(("core", "blamed"), [("0.3.64", True), ("0.6.9", True), ("0.7.0", False), ("0.46.0", False)])
def test_a_line_of_a_real_comfyui_is_judged_by_its_version(core: str, blamed: bool) -> None:
    recorded = {**OLD, "kind": "comfyui", "version": core}
    found = differences.reasons(graph(), recorded, server())
    assert any("seed + 1" in reason for reason in found) == blamed


def test_equal_servers_give_no_reason() -> None:
    assert differences.reasons(graph(), server(), server()) == []
    assert differences.mend(server(), server()) == ""


def test_an_unreadable_version_is_no_ground_for_a_claim() -> None:
    found = differences.reasons(graph(), server("nightly"), server())
    assert found == ["the record was drawn as ComfyUI nightly draws; this server draws as 0.28.1 does"]


def test_another_device_is_named() -> None:
    found = differences.reasons(graph("euler"), server(), server(devices=["NVIDIA H100"]))
    assert found == ["the device was cpu and is now NVIDIA H100"]
