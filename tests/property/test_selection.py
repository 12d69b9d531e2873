"""What is read off a jq program is what jq makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow_processors.cre.patterns import compiled
from fallow_processors.cre.selection import Comparison, Selection, selection

PATHS = (
    ".name",
    ".unit",
    ".value",
    '.resource["k8s.pod.name"]',
    ".resource.zone",
    '.attributes["gpu"]',
    ".attributes.gpu",
)
CONSTANTS = st.one_of(
    st.sampled_from(('"a"', '"b"', '""', "null", "true", "false", '"\\u00e4"')),
    st.sampled_from((-1.5, 0, 0.05, 1, 3, 1e3)).map(str),
)
OPAQUE = (
    "(.value | floor) > 0",
    ".value + 1 > 1",
    '(.name == "a" or .value < 1)',
    "(.name | length) == 1",
    ".resource",
)


def _comparison(path: str, op: str, constant: str, swapped: bool) -> str:
    return f"{constant} {op} {path}" if swapped else f"{path} {op} {constant}"


comparisons = st.builds(
    _comparison,
    st.sampled_from(PATHS),
    st.sampled_from(("==", "!=", "<", "<=", ">", ">=")),
    CONSTANTS,
    st.booleans(),
)
parts = st.one_of(comparisons, comparisons, comparisons.map(lambda c: f"({c})"), st.sampled_from(OPAQUE))
conjunctions = st.lists(parts, min_size=1, max_size=4).map(" and ".join)
programs = st.one_of(
    conjunctions,
    st.lists(conjunctions.map(lambda c: f"select({c})"), min_size=1, max_size=3).map(" | ".join),
    conjunctions.map(lambda c: f"select({c}) | .value"),
    conjunctions.map(lambda c: f"[select({c})] | length == 0"),
    conjunctions.map(lambda c: f"select({c}), .value"),
    conjunctions.map(lambda c: f"select({c}) // .name"),
)
points = st.fixed_dictionaries(
    {
        "name": st.sampled_from(("a", "b", "ä", "")),
        "unit": st.sampled_from(("", "1", "W")),
        "value": st.sampled_from((-1.5, -1.0, 0.0, 0.05, 0.5, 1.0, 3.0, 1e3)),
        "resource": st.dictionaries(st.sampled_from(("k8s.pod.name", "zone")), st.sampled_from(("a", "b"))),
        "attributes": st.dictionaries(st.just("gpu"), st.sampled_from(("0", "a"))),
    }
)


def holds(found: Selection, point: dict[str, Any]) -> bool:
    return found.could_be(point["name"], point["unit"], point["resource"], point["attributes"]) and all(
        one.holds(point["value"]) for one in found.value
    )


@settings(max_examples=400, deadline=None)
@given(program=programs, point=points)
def test_a_selection_is_what_jq_says_or_a_necessary_part_of_it(program: str, point: dict[str, Any]) -> None:
    found = selection(program)
    said = compiled("jq", program)(json.dumps(point))
    if found.exact:
        assert holds(found, point) is said, program
    else:
        assert holds(found, point) or not said, program


@pytest.mark.parametrize(
    ("program", "exact", "comparisons"),
    [
        pytest.param('select(.name == "x" and .value < 0.05)', True, 2, id="the-usual-one"),
        pytest.param('select(.name == "x") | select(.value >= -1e-3)', True, 2, id="pipe-of-selects"),
        pytest.param('.name == "x"', True, 1, id="bare"),
        pytest.param('select(((.name == "x") and (.unit == "1")))', True, 2, id="parentheses"),
        pytest.param('select(.attributes["a b"] == "x" and .resource."k.l" != "y")', True, 2, id="quoted-keys"),
        pytest.param('select(.name == "x" and (.value | floor) > 3)', False, 1, id="a-part-is-left-to-jq"),
        pytest.param('select(.name == "x" or .name == "y")', False, 0, id="or"),
        pytest.param('select(.name == "x") | .value', False, 1, id="what-follows-is-left-to-jq"),
        pytest.param('map(.) | select(.name == "x")', False, 0, id="no-longer-the-point"),
        pytest.param('select(.name == "x\\(.unit)")', False, 0, id="interpolation"),
        pytest.param('select(.name == "x") # comment', False, 0, id="comment"),
        pytest.param('.name as $n | select(.name == "x")', False, 0, id="binding"),
        pytest.param("select(.value.x == 1)", False, 0, id="deeper"),
    ],
)
def test_what_is_read_off(program: str, exact: bool, comparisons: int) -> None:
    found = selection(program)
    assert (found.exact, len(found.series) + len(found.value)) == (exact, comparisons)


def test_a_comparison_keeps_its_sense_when_turned_round() -> None:
    assert selection("3 > .value").value == (Comparison(("value",), "<", 3.0),)
