"""`--category`, `--type`, `--part-masks DIR` and `--real-masks N`, brought into the graph of a run.

Nothing is guessed: what the user set stays, and what the graph has no place for is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from ....nodes.datasets.names import nfc, safe_name, shown
from ...errors import request_error
from ...graphs.graph import Graph, by_title, title_of
from ...graphs.overrides import Axis, Setting
from ...graphs.parts import PRIOR, placers_without_prior, put_part_masks, put_real_masks
from ...graphs.roles import find_roles
from ...graphs.words import WORDS_NODE, Names, hand_type, hand_words, lacking, saved_names
from ...plans.part_masks import PartMasks
from ...plans.photos import Category
from ...plans.plan import Input, Selection, check_chosen_type
from ...plans.real_masks import shared_inputs, usable
from .request import Request

Say = Callable[[str], None]
#: Real masks that are learnt from at most, as the node has it.
MOST_REAL_MASKS = 32
#: What decides how a placing node draws; a user who sets one of these has decided.
_DECIDES = ("type", "name", "prior")


def hand_over(
    request: Request,
    graph: Graph,
    selection: Selection,
    object_info: dict[str, Any],
    sets: Sequence[Setting],
    axes: Sequence[Axis],
    say: Say,
) -> tuple[Input, ...]:
    """Change the graph for the run's part and type; returns the photos that every job reads besides.

    Raises:
        RequestError: the dataset, the masks or the type are not there, or the graph has no place for what was asked.
    """
    _check_one_type(graph, selection)
    roles = find_roles(graph, request.workflow or "")
    if len(selection.types) == 1:
        selection = replace(selection, type=selection.types[0])
    category = selection.open()
    check_chosen_type(category, selection)
    fixed = {(by_title(graph, setting.title), setting.input) for setting in sets}
    fixed |= {(by_title(graph, axis.title), axis.input) for axis in axes}
    masks = PartMasks(selection.part_masks, category) if selection.part_masks is not None else None
    type_ = selection.type or roles.default_type
    if masks is not None:
        filled = put_part_masks(graph, roles, object_info, references=masks.has_type(nfc(type_)))
        say(f"masks of the parts from {shown(str(masks.folder))}, for {', '.join(filled)}")
    names = Names(_named(request, category), selection.type, *saved_names(graph, roles.saver))
    shared = _masks_by_type(request, graph, category, selection, object_info, masks, fixed, say)
    for note in [*hand_words(graph, names, fixed), *lacking(graph, names, fixed)]:
        say(note)
    return shared


def _check_one_type(graph: Graph, selection: Selection) -> None:
    """A graph that speaks of a type, or draws one, is for one type; the pairs of another would be labelled wrongly."""
    if len(selection.types) < 2:
        return
    told = [n for n in graph if graph[n]["class_type"] == WORDS_NODE] + placers_without_prior(graph)
    if told:
        raise request_error(
            "plan.types",
            f"{len(selection.types)} types, and '{title_of(graph, told[0])}' of the workflow can only be told one",
            expected="one type a run for this workflow",
            mend="run it once for each: --type NAME and an --out of its own",
        )


def _named(request: Request, category: Category) -> str | None:
    """The part's name; None where it is only the name of a folder of photos."""
    return category.name if request.category is not None or not category.read.layout.is_root else None


def _masks_by_type(
    request: Request,
    graph: Graph,
    category: Category,
    selection: Selection,
    object_info: dict[str, Any],
    masks: PartMasks | None,
    fixed: Collection[tuple[str, str]],
    say: Say,
) -> tuple[Input, ...]:
    type_ = selection.type
    placers = [n for n in placers_without_prior(graph) if not any((n, name) in fixed for name in _DECIDES)]
    if type_ is None or not placers:
        if request.real_masks:
            raise request_error(
                "request.real_masks",
                "--real-masks: " + ("no --type is given" if type_ is None else "no node draws masks by type"),
                expected="--type, and a node Place Defect Mask of which neither type nor prior is set",
                mend="use inpaint_any_defect with --type NAME, or leave --real-masks away",
            )
        return ()
    shared = _real_masks(request, graph, category, type_, placers, object_info, masks, say)
    if shared:
        return shared
    try:
        notes = hand_type(graph, placers, type_)
    except ValueError as error:
        where = title_of(graph, placers[0])
        raise request_error(
            "request.type_not_drawn",
            str(error).rstrip("."),
            where=f"--type {shown(type_)}, for '{where}'",
            expected="a type that masks can be drawn for, or real masks of it in the dataset",
            mend=f"--set '{where}.type=scratch' (or another) draws that type for it",
        ) from error
    for note in notes:
        say(note)
    return ()


def _real_masks(
    request: Request,
    graph: Graph,
    category: Category,
    type_: str,
    placers: Sequence[str],
    object_info: dict[str, Any],
    masks: PartMasks | None,
    say: Say,
) -> tuple[Input, ...]:
    """The photos of the dataset's real defects of this type, where there are any to learn from."""
    most = MOST_REAL_MASKS if request.real_masks is None else request.real_masks
    known = nfc(type_) in category.defect_types() and PRIOR in object_info
    photos = category.with_mask(type_) if most and known else []
    if not photos:
        if request.real_masks:
            raise request_error(
                "data.no_real_masks",
                f"--real-masks {request.real_masks}: there is no real mask of '{shown(type_)}' to learn from",
                where=shown(str(category.path)),
                expected="photos of that type with their masks",
                mend="leave --real-masks away: the type is drawn",
            )
        return ()
    own = masks.of(photos[:most]) if masks is not None and masks.has_type(nfc(type_)) else {}
    found = usable(photos, own, most)
    for text in found.left_out:
        say(f"not learnt from: {text}")
    if not found.photos:
        return ()
    count = len(found.photos)
    say(
        f"masks as the {'only real one' if count == 1 else f'{count} real ones'} of "
        f"{shown(category.name)}/{shown(type_)} in shape, size and place"
        + (f" (the first of {len(photos)})" if len(photos) > most else "")
        + "; --real-masks 0 draws the type instead"
    )
    shared = shared_inputs("", [*found.photos, *found.parts])
    inputs = {
        "root": shared[0].root,
        "category": safe_name(category.name),
        "type": safe_name(nfc(type_)),
        "most": count,
    }
    put_real_masks(graph, placers, inputs)
    return shared
