"""Parity with the original: the same pictures as the plain two-pass oracle."""

from __future__ import annotations

from reference_setup import MODES, PARITY, Setup, case, differs, same


@case
def plain_run_equals_the_oracle(s: Setup) -> None:
    same(s.plain, s.expected([]), PARITY)


@case(mode=MODES, fidelity=(0.0, 0.5, 1.0), weight=(0.5, 1.0, 2.0), count=(1, 2))
def parity(s: Setup, mode: str, fidelity: float, weight: float, count: int) -> None:
    model = s.attached(s.references[:count], mode=mode, style_fidelity=fidelity, weights=(weight,))
    result = s.sample(model)
    same(result, s.expected([s.unit(n, mode=mode, fidelity=fidelity, weight=weight) for n in range(count)]), PARITY)
    differs(result, s.plain)


@case(window=((0.0, 0.3), (0.3, 1.0), (0.2, 0.5), (0.9, 1.0)))
def parity_in_a_window_of_steps(s: Setup, window: tuple[float, float]) -> None:
    sigmas = (10.0, 6.0, 3.0, 1.5, 0.6, 0.0)
    start, end = window
    result = s.sample(s.attached(start=start, end=end), sigmas=sigmas)
    same(result, s.expected([s.unit(start=start, end=end, sigmas=sigmas)], sigmas), PARITY)


@case
def parity_of_two_units_with_their_own_settings(s: Setup) -> None:
    first = {"mode": "reference_only", "weight": 0.5, "fidelity": 1.0, "start": 0.0, "end": 0.2}
    second = {"mode": "reference_adain+attn", "weight": 1.0, "fidelity": 0.25}
    model = s.base
    for number, unit in enumerate((first, second)):
        settings = {**unit, "weights": (unit["weight"],), "style_fidelity": unit["fidelity"]}
        del settings["weight"], settings["fidelity"]
        model = s.attached(s.references[number : number + 1], model, **settings)
    same(s.sample(model), s.expected([s.unit(0, **first), s.unit(1, **second)]), PARITY)


@case(mode=("Balanced", "My prompt is more important", "ControlNet is more important"))
def parity_of_control_modes(s: Setup, mode: str) -> None:
    fidelity = {"Balanced": 0.5, "My prompt is more important": 0.0, "ControlNet is more important": 1.0}[mode]
    same(s.sample(s.attached(control_mode=mode, style_fidelity=0.5)), s.expected([s.unit(fidelity=fidelity)]), PARITY)
