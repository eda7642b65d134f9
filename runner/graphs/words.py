"""The part and the type of a run, handed to the nodes that paint by words and draw masks by type.

A graph was saved for some part and type: what it calls by these names is what a run may rename. Words that a person
chose (another name, a template, a fixed prompt) stay, and are said where the run is about something else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...nodes.algorithms.placement.defects import type_named
from ...nodes.algorithms.prompts import DEFECTS, PARTS, TEMPLATE, WORDS, defect_prompt, plain_name
from .graph import Graph, title_of

WORDS_NODE = "DefectForgeDefectPrompt"
#: Draws cracks around what it moves where that is a hole.
MOVER = "DefectForgeTransplantDefect"
HOLES_ONLY = "DefectForgePlaceHoleMask"
ENCODER = "CLIPTextEncode"
Fixed = Collection[tuple[str, str]]


@dataclass(frozen=True)
class Names:
    """What the run is about, and what the graph was saved for; None: not known."""

    part: str | None
    type: str | None
    saved_part: str
    saved_type: str


def saved_names(graph: Graph, saver: str) -> tuple[str, str]:
    """The part and the type that a graph was saved for, as its saving node says; "" where it is linked."""
    inputs = graph[saver]["inputs"]
    values = [inputs.get(name) for name in ("category", "type")]
    part, type_ = (value if isinstance(value, str) else "" for value in values)
    return part, type_


def hand_words(graph: Graph, names: Names, fixed: Fixed) -> list[str]:
    """Rename part and type in every node 'Defect Prompt', the type in 'Transplant Defect'; returns what to say.

    Args:
        graph: changed in place.
        names: of the run and of the graph.
        fixed: (node id, input) pairs that the user has set and that stay.
    """
    notes = []
    for node_id, node in graph.items():
        if node["class_type"] not in (WORDS_NODE, MOVER):
            continue
        before = dict(node["inputs"])
        pairs = (("part", names.part, names.saved_part, PARTS), ("type", names.type, names.saved_type, DEFECTS))
        for name, wanted, saved, known in pairs:
            value = node["inputs"].get(name)
            if wanted is None or not isinstance(value, str) or (node_id, name) in fixed:
                continue
            if not value and node["class_type"] == MOVER:
                continue
            value_, saved_, wanted_ = (plain_name(text, known) for text in (value, saved, wanted))
            if value_ == saved_:
                node["inputs"][name] = wanted
            elif wanted_ not in (saved_, value_):
                # The run is about something else than the graph was; words for the same thing need no remark.
                notes.append(
                    f"'{title_of(graph, node_id)}.{name}' stays '{value}', as the workflow has it; "
                    f"--set '{title_of(graph, node_id)}.{name}={wanted}' changes it"
                )
        if node["class_type"] == WORDS_NODE and node["inputs"] != before:
            notes.append(f"'{title_of(graph, node_id)}' says: {prompt_of(node['inputs'])}")
    return notes


def prompt_of(inputs: dict[str, object]) -> str:
    """The prompt that a node 'Defect Prompt' with these inputs gives; "" where an input is linked or wrong."""
    values = [inputs.get(name) for name in ("template", "part", "type", "words")]
    if not all(isinstance(value, str) for value in values):
        return ""
    template, part, type_, words = map(str, values)
    try:
        return defect_prompt(template, part, type_, words.strip() or WORDS.get(_plain_type(type_), ""))
    except ValueError:
        return ""


def hand_type(graph: Graph, placers: Collection[str], type_: str) -> list[str]:
    """Let the placing nodes draw a type; returns what to say.

    Raises:
        ValueError: the type is unknown, or none that a mask can be drawn for.
    """
    plain = type_named(type_)
    said = []
    for node_id in placers:
        graph[node_id]["inputs"] |= {"type": plain, "name": type_}
        said.append(f"'{title_of(graph, node_id)}' draws masks of the type {plain}")
    return said


def lacking(graph: Graph, names: Names, fixed: Fixed) -> list[str]:
    """What the graph still says about another part or type, because it has no node that could be told."""
    notes = []
    part, type_ = names.part or names.saved_part, names.type or names.saved_type
    pairs = [(names.saved_part, part, PARTS), (names.saved_type, type_, DEFECTS)]
    others = [
        plain_name(saved, known).lower()
        for saved, wanted, known in pairs
        if saved and plain_name(saved, known) != plain_name(wanted, known)
    ]
    for node_id, node in graph.items():
        title, text = title_of(graph, node_id), node["inputs"].get("text")
        if node["class_type"] == ENCODER and isinstance(text, str) and (node_id, "text") not in fixed:
            if any(word in text.lower() for word in others):
                better = defect_prompt(TEMPLATE, part, type_, "")
                notes.append(f"'{title}' still says '{text}'; --set '{title}.text={better}' changes it")
        elif node["class_type"] == HOLES_ONLY and names.type is not None and _plain_type(names.type) != "hole":
            notes.append(f"'{title}' draws holes, whatever --type says; inpaint_any_defect draws other types")
    return notes


def _plain_type(name: str) -> str:
    try:
        return type_named(name)
    except ValueError:
        return ""
