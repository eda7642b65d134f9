"""Overrides by title: right values reach the right input, wrong ones get one message with the nearest right word."""

from __future__ import annotations

from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.graph import address_of, by_title
from defectforge.runner.graphs.overrides import Setting, apply, combinations, parse_sets, parse_varies


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Hole mask.seed=7", 7),
        ("Hole mask.seed=18446744073709551615", 2**64 - 1),
        ("Hole mask.rim=1", 1.0),
        ("Hole mask.rim=2.5e-1", 0.25),
        ("Hole mask.cracks=False", False),
        ("Hole mask.mode=ragged", "ragged"),
        ("Save pair.type=a = b.c", "a = b.c"),
    ],
)
def test_a_value_is_read_by_the_input_s_type(graph: Any, object_info: Any, text: str, value: Any) -> None:
    settings = parse_sets([text], graph, object_info)
    assert settings[0].value == value
    assert type(settings[0].value) is type(value)
    apply(graph, settings)
    node = next(n for n in graph.values() if n["_meta"]["title"] == settings[0].title)
    assert node["inputs"][settings[0].input] == value


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("Hole maks.seed=1", "override.unknown_title", "did you mean 'Hole mask'?"),
        ("Hole mask.sed=1", "override.unknown_input", "did you mean 'seed'?"),
        ("Hole mask.image=1", "override.needs_link", "'image' takes a link"),
        ("Hole mask.count=64.9", "override.wrong_type", "a whole number"),
        ("Hole mask.count=many", "override.wrong_type", "a whole number"),
        ("Hole mask.count=21", "override.out_of_range", "1 to 20"),
        ("Hole mask.rim=nan", "override.out_of_range", "a finite number"),
        ("Hole mask.cracks=1", "override.wrong_type", "true or false"),
        ("Hole mask.mode=raged", "override.not_a_choice", "nearest: 'ragged'"),
        ("seed=1", "override.syntax", "'Node title.input=value'"),
        ("Hole mask.seed", "override.syntax", "'Node title.input=value'"),
    ],
)
def test_a_wrong_override_says_what_would_be_right(
    graph: Any, object_info: Any, text: str, code: str, hint: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse_sets([text], graph, object_info)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert hint in caught.value.text().replace("'Hole mask.image'", "'image'")


def test_all_wrong_overrides_are_told_at_once(graph: Any, object_info: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_sets(["Hole maks.seed=1", "Hole mask.seed=2", "Hole mask.count=0"], graph, object_info)
    assert [p.code for p in caught.value.problems] == ["override.unknown_title", "override.out_of_range"]


def test_two_nodes_of_one_title_are_not_guessed_at(graph: Any, object_info: Any) -> None:
    graph["9"] = {**graph["3"], "inputs": dict(graph["3"]["inputs"])}
    with pytest.raises(RequestError, match="2 nodes of the workflow have the title 'Hole mask'"):
        parse_sets(["Hole mask.seed=1"], graph, object_info)


def test_axes_multiply_and_quoted_commas_stay(graph: Any, object_info: Any) -> None:
    axes = parse_varies(["Hole mask.count=1,2", 'Save pair.type="a, b",c'], graph, object_info)
    assert combinations(axes) == [
        (Setting("Hole mask", "count", number), Setting("Save pair", "type", text))
        for number in (1, 2)
        for text in ("a, b", "c")
    ]
    assert combinations([]) == [()]


def test_a_node_whose_title_others_have_is_named_by_its_id() -> None:
    """A blueprint that is used twice brings every title twice."""
    graph = {
        "24:3": {"class_type": "KSampler", "inputs": {"steps": 20}, "_meta": {"title": "Sampler"}},
        "25:3": {"class_type": "KSampler", "inputs": {"steps": 20}, "_meta": {"title": "Sampler"}},
        "4": {"class_type": "VAEDecode", "inputs": {}, "_meta": {"title": "Decode"}},
    }
    assert [address_of(graph, node_id) for node_id in graph] == ["#24:3", "#25:3", "Decode"]
    assert [by_title(graph, address_of(graph, node_id)) for node_id in graph] == list(graph)
    with pytest.raises(RequestError, match="2 nodes") as error:
        by_title(graph, "Sampler")
    assert "'#24:3'" in error.value.problems[0].mend
