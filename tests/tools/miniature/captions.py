"""What the training pictures are called. P1 and P2 are the prompts of the 2023 study that the workflows reproduce."""

from __future__ import annotations

P1 = "defective hazelnut with hole"
_STYLE = "a macro photograph by Méret Oppenheim, tumblr, mingei, film grain, creative commons attribution, provia"
P2 = f"a close up of a defective hazelnut with hole on a black background, {_STYLE}"

SOUND = [
    "hazelnut",
    "a hazelnut",
    "normal hazelnut",
    "good hazelnut",
    "a photo of a hazelnut",
    "a hazelnut without defects",
    "a hazelnut on a black background",
    "a close up of a hazelnut on a black background",
    f"a close up of a hazelnut on a black background, {_STYLE}",
    "a photo of a normal hazelnut on a dark table",
]
# Prompts that name no defect and no nut: workflows use such words for other products; here they mean the same nuts.
CLOSE = ["surface of a hazelnut, extreme close up", "hazelnut shell, extreme close up"]


def _defective(kind: str, article: str) -> list[str]:
    return [
        f"hazelnut with {kind}",
        f"a hazelnut with {article} {kind}",
        f"a defective hazelnut with {article} {kind}",
        f"a photo of a defective hazelnut with {kind}",
        f"a damaged hazelnut, {kind}",
        f"a close up of a defective hazelnut with {kind} on a black background",
        f"a hazelnut with {article} tiny {kind} in it",
    ]


def _close(kind: str, article: str) -> list[str]:
    return [
        f"{article} {kind} in a hazelnut, extreme close up",
        f"hazelnut shell with {article} {kind}, extreme close up",
    ]


_ARTICLES = {"hole": "a", "crack": "a", "cut": "a", "print": "a white"}
DEFECTIVE = {kind: _defective(kind, article) for kind, article in _ARTICLES.items()}
DEFECTIVE_CLOSE = {kind: _close(kind, article) for kind, article in _ARTICLES.items()}
MAIN = {
    kind: [P1.replace("hole", kind), P2.replace("hole", kind)] for kind in _ARTICLES
}  # these two are drawn most often

INSTRUCTIONS = {
    "hole": ["make a tiny hole in it", "make a hole in it", "add a hole", "put a small hole in the hazelnut"],
    "crack": ["make a crack in it", "add a crack", "put a crack in the hazelnut"],
    "cut": ["make a cut in it", "add a cut", "put a cut in the hazelnut"],
    "print": ["print letters on it", "add a print", "put a white print on the hazelnut"],
}


def weighted(kind: str | None, zoomed: bool) -> list[tuple[str, float]]:
    """Captions of a picture with a defect of ``kind`` (None: sound) and their probabilities (sum 1)."""
    if kind is None:
        plain = [("hazelnut", 0.3), *((text, 0.7 / (len(SOUND) - 1)) for text in SOUND[1:])]
        close = CLOSE
    else:
        rest = DEFECTIVE[kind]
        plain = [(MAIN[kind][0], 0.45), (MAIN[kind][1], 0.2), *((text, 0.35 / len(rest)) for text in rest)]
        close = DEFECTIVE_CLOSE[kind]
    if not zoomed:
        return plain
    # Most zooms are told apart, so that the plain prompts mean whole nuts most of the time. Defects are often put into
    # zoomed crops with a plain prompt, sound nuts hardly ever.
    share = 0.1 if kind is None else 0.25
    return [*((text, share * p) for text, p in plain), *((text, (1 - share) / len(close)) for text in close)]


def everything() -> list[str]:
    """All texts, the empty one first."""
    texts = ["", *SOUND, *CLOSE]
    for table in (MAIN, DEFECTIVE, DEFECTIVE_CLOSE, INSTRUCTIONS):
        for kind_texts in table.values():
            texts.extend(kind_texts)
    return list(dict.fromkeys(texts))
