"""Holding the surroundings of a target mask: what a run without references gave is kept outside, call by call."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from defectforge.nodes.reference.hold import Surroundings, doubled, rewind

MASK = torch.tensor([[[[1.0, 0.25], [0.0, 0.0]]]])


def level(sigma: float) -> torch.Tensor:
    return torch.tensor([sigma])


def latent(value: float) -> torch.Tensor:
    return torch.full((1, 4, 2, 2), value)


def never() -> list[torch.Tensor]:
    raise AssertionError("evaluated again although the recorded result fits")


@pytest.fixture
def recorded() -> Surroundings:
    """Two calls of a run without references, at the noise levels 3 and 1."""
    surroundings = Surroundings(MASK)
    surroundings.record(level(3.0), [latent(8.0), None])
    surroundings.record(level(1.0), [latent(16.0), None])
    surroundings.replay()
    return surroundings


def test_the_mask_says_how_much_of_each_run_is_kept(recorded):
    first, skipped = recorded.keep(level(3.0), [latent(0.0), latent(5.0)], never)
    assert first[0, 0].tolist() == [[0.0, 6.0], [8.0, 8.0]]
    assert torch.equal(skipped, latent(5.0)), "a side that was not evaluated without references stays as it is"


def test_calls_are_met_in_their_order(recorded):
    recorded.keep(level(3.0), [latent(0.0), None], never)
    second, _ = recorded.keep(level(1.0), [latent(0.0), None], never)
    assert second[0, 0, 1, 1] == 16.0


@pytest.mark.parametrize("sigma", [2.0, 1.0])
def test_a_sampler_that_chooses_its_own_steps_is_held_by_a_second_evaluation_and_warned_of(recorded, caplog, sigma):
    calls = []

    def evaluate() -> list[torch.Tensor]:
        calls.append(1)
        return [latent(4.0), None]

    for _ in range(2):
        result, _ = recorded.keep(level(sigma), [latent(0.0), None], evaluate)
        assert result[0, 0, 1, 1] == 4.0
    assert len(calls) == 2
    assert caplog.text.count("chooses its own steps") == 1


def test_more_calls_than_were_recorded_are_evaluated(recorded, caplog):
    recorded.keep(level(3.0), [latent(0.0), None], never)
    recorded.keep(level(1.0), [latent(0.0), None], never)
    result, _ = recorded.keep(level(0.5), [latent(0.0), None], lambda: [latent(2.0), None])
    assert result[0, 0, 1, 1] == 2.0
    assert "held nearly" in caplog.text


def test_what_guidance_made_of_the_picture_is_kept_outside_alone():
    surroundings = Surroundings(MASK)
    assert torch.equal(surroundings.guide(level(3.0), latent(8.0)), latent(8.0))
    surroundings.replay()
    guided = surroundings.guide(level(3.0), latent(0.0))
    assert guided[0, 0].tolist() == [[0.0, 0.0], [8.0, 8.0]], "the mask's soft edge is mixed once, before guidance"
    assert torch.equal(surroundings.guide(level(2.0), latent(0.0)), latent(0.0)), "nothing was recorded there"


def test_scheduled_hooks_start_anew():
    class Hooks:
        resets = 0

        def reset(self) -> None:
            self.resets += 1

    class Patcher:
        cleaned = 0

        def clean_hooks(self) -> None:
            self.cleaned += 1

    hooks, patcher = Hooks(), Patcher()
    conds = {"positive": [{"hooks": hooks}, {}], "negative": [{"hooks": None}]}
    rewind(SimpleNamespace(conds=conds, model_patcher=patcher))
    assert (hooks.resets, patcher.cleaned) == (1, 1)
    # A host without hooks has no such method either.
    rewind(SimpleNamespace(conds={"positive": [{}], "negative": []}, model_patcher=None))


def test_progress_counts_both_runs():
    seen = []
    for second in (False, True):
        report = doubled(lambda step, denoised, x, total: seen.append((step, total)), 3, second)
        for step in range(3):
            report(step, None, None, 3)
    assert seen == [(step, 6) for step in range(6)]
    assert doubled(None, 3, second=True) is None
