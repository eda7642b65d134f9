"""What a training does, as numbers: defaults by the model's native size, and the limits of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import Problem, RequestError

RANKS = (1, 128)
MOST_PHOTOS = 20
MOST_GOOD = 32


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out, beside the photos and the model.

    Attributes:
        rank: of each adapter; alpha equals it, so that strength 1 is what was trained.
        text_encoder: whether the text encoder's attention gets adapters too.
        steps, batch: optimizer steps, and pictures with a defect in each of them.
        learning_rate: of AdamW, after a short warm-up, falling to a tenth (cosine).
        prior: weight of the good photos' loss against that of the defects; 0 leaves them out.
        around: weight of what surrounds a defect, against the defect itself.
        turns: whether crops are also turned by quarters and mirrored.
        size: side of the working crop, px.
        seed: of views, noise and the adapters' start.
        prompt, good_prompt: what a picture with the defect is called, and a good one.
    """

    rank: int
    text_encoder: bool
    steps: int
    batch: int
    learning_rate: float
    prior: float
    around: float
    turns: bool
    size: int
    seed: int
    prompt: str
    good_prompt: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


#: Up to this native size a model is a small one (the miniature: 128 px), which takes large steps and a large batch.
SMALL = 256


def defaults(size: int, category: str, type_: str) -> Settings:
    """Settings for a model of this native size."""
    small = size <= SMALL
    return Settings(
        rank=8,
        text_encoder=False,
        steps=250 if small else 800,
        batch=4 if small else 2,
        learning_rate=2e-3 if small else 1e-4,
        prior=0.3,
        around=0.15,
        turns=True,
        size=size,
        seed=0,
        prompt=f"defective {category} with {type_}",
        good_prompt=category,
    )


#: Setting -> (least, most).
LIMITS: dict[str, tuple[float, float]] = {
    "rank": RANKS,
    "steps": (1, 1_000_000),
    "batch": (1, 256),
    "learning_rate": (1e-7, 1.0),
    "prior": (0.0, 10.0),
    "around": (0.0, 10.0),
    "size": (64, 2048),
    "seed": (0, 2**63 - 1),
}


def with_options(settings: Settings, **options: Any) -> Settings:
    """The settings with those options that are not None.

    Raises:
        RequestError: every number out of its range, a size that 8 does not divide, an empty prompt.
    """
    changed = replace(settings, **{name: value for name, value in options.items() if value is not None})
    problems = []
    for name, (low, high) in LIMITS.items():
        value = getattr(changed, name)
        if not low <= value <= high:  # NaN is in no range
            problems.append(_out_of_range(name, value, f"{low} to {high}"))
    if changed.size % 8:
        problems.append(_out_of_range("size", changed.size, "a multiple of 8"))
    if not changed.prompt.strip():
        problems.append(_out_of_range("prompt", repr(changed.prompt), "words that call the defect"))
    if problems:
        raise RequestError(problems)
    return changed


def _out_of_range(name: str, value: object, expected: str) -> Problem:
    option = f"--{name.replace('_', '-')}"
    return Problem(
        "lora.setting",
        f"{option} {value} is not possible",
        where=option,
        expected=expected,
        mend="change it, or leave it away",
    )
