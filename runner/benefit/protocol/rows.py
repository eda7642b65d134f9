"""The rows of the table: which defects a detector is trained with, for each number k of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..sets.generated import REQUESTED, VISIBLE, GeneratedSet
from ..sets.leaks import used_references
from ..sets.real import RealSet

CUTPASTE, PERLIN, REAL, AUGMENTED = "CutPaste", "Perlin", "real", "real, augmented"
PATCHCORE = "PatchCore, good photos only"


@dataclass(frozen=True)
class Source:
    """One pool of defects: a classical drawing, the real ones, or a generated set with one kind of label.

    `members`: for each seed, which of them (real photos by index, pairs by index); None: all.
    """

    kind: str
    label: str = ""
    members: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    k: int
    name: str
    sources: tuple[Source, ...]
    generated: tuple[str, ...] = ()
    """Names of the generated sets in it."""
    pairs: tuple[int, int] | None = None
    """Least and most generated pairs over the seeds."""
    detector: str = ""
    """"patchcore" for the row that needs no defect; else the chosen detector."""


@dataclass
class Plan:
    """All rows, and what could not become a row."""

    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def chosen_references(k: int, n_references: int, n_seeds: int) -> list[tuple[int, ...]]:
    """The k real defects that each seed sees: the window moves on by one photo a seed."""
    return [tuple(sorted((seed + j) % n_references for j in range(k))) for seed in range(n_seeds)]


def plan_rows(real: RealSet, sets: Sequence[GeneratedSet], ks: Sequence[int], n_seeds: int) -> Plan:
    """The rows for each k.

    A pair that was made with real defects (as a reference, or by a LoRA) enters a row only in seeds whose k real
    defects include all of them: what a row may know is k real defects, by whatever way.
    """
    plan = Plan([Row(0, PATCHCORE, (), detector="patchcore")])
    used = {s.name: [used_references(pair, real.references) for pair in s.pairs] for s in sets}
    for k in ks:
        chosen = chosen_references(k, len(real.references), n_seeds)
        base = (Source(REAL, members=tuple(chosen)),) if k else ()
        if k:
            plan.rows += [Row(k, "real only", base)]
            plan.rows += [Row(k, "real, augmented", (Source(AUGMENTED, members=tuple(chosen)),))]
        plus = "real + " if k else ""
        for kind in (CUTPASTE, PERLIN):
            plan.rows.append(Row(k, plus + kind, (*base, Source(kind))))
        for generated in sets:
            _generated_rows(plan, k, generated, used[generated.name], chosen, base)
        if len(sets) > 1:
            _all_sets(plan, k, sets, used, chosen, base)
    return plan


def _generated_rows(
    plan: Plan,
    k: int,
    generated: GeneratedSet,
    used: Sequence[frozenset[int]],
    chosen: Sequence[tuple[int, ...]],
    base: tuple[Source, ...],
) -> None:
    name, plus = generated.name, "real + " if k else ""
    best: Source | None = None
    for label in generated.labels():
        source = _source(generated, label, used, chosen)
        if source is None:
            why = f"k={k}, {name}, {label}: no pair was made with these {k} real defects or fewer"
            plan.left_out.append(why if k else f"k=0, {name}, {label}: every pair was made with a real defect")
            continue
        best, size = source, _sizes(source)
        plan.rows.append(Row(k, f"{plus}{name}, {label}", (*base, source), (name,), size))
    if best is not None:
        # Without real defects among its origins, the same as the row at k = 0.
        if k and any(used):
            plan.rows.append(Row(k, f"{name} only, {best.label}", (best,), (name,), _sizes(best)))
        title = f"{plus}{name}, {best.label} + CutPaste"
        plan.rows.append(Row(k, title, (*base, best, Source(CUTPASTE)), (name,), _sizes(best)))


def _all_sets(
    plan: Plan,
    k: int,
    sets: Sequence[GeneratedSet],
    used: dict[str, list[frozenset[int]]],
    chosen: Sequence[tuple[int, ...]],
    base: tuple[Source, ...],
) -> None:
    """All generated sets together, each with its best kind of label: the visible one where there is one."""
    sources = []
    for generated in sets:
        labels = generated.labels()
        if labels:
            sources.append(_source(generated, labels[-1], used[generated.name], chosen))
    there = [source for source in sources if source is not None]
    if len(there) > 1:
        names = tuple(source.kind for source in there)
        plan.rows.append(Row(k, ("real + " if k else "") + " + ".join(names), (*base, *there), names))


def _source(
    generated: GeneratedSet, label: str, used: Sequence[frozenset[int]], chosen: Sequence[tuple[int, ...]]
) -> Source | None:
    labelled = [i for i, pair in enumerate(generated.pairs) if pair.labels[label] is not None]
    members = tuple(tuple(i for i in labelled if used[i] <= set(seen)) for seen in chosen)
    return Source(generated.name, label, members) if all(members) else None


def _sizes(source: Source) -> tuple[int, int]:
    assert source.members is not None
    sizes = [len(rows) for rows in source.members]
    return min(sizes), max(sizes)


__all__ = ["AUGMENTED", "CUTPASTE", "PATCHCORE", "PERLIN", "REAL", "REQUESTED", "VISIBLE", "Plan", "Row", "Source"]
