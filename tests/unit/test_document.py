"""Every error of a document names its place, all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from fallow.document import load, parse, validated
from fallow.errors import DocumentError
from fallow.units import DurationNs


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    interval: DurationNs = Field(default=0)
    names: tuple[str, ...] = ()


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    by_name: Mapping[str, Inner] = {}
    size: int


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        validated(Outer, parse(text, "x.yaml"))
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "size: 1\nsice: 2\n", ["x.yaml:2: sice: unknown key; allowed: inner, by_name, size"], id="unknown-key"
        ),
        pytest.param(
            "size: 1\ninner:\n  intervall: 5s\n",
            ["x.yaml:3: inner.intervall: unknown key; allowed: interval, names"],
            id="unknown-nested-key",
        ),
        pytest.param(
            "size: 1\nby_name:\n  a:\n    nam: 5s\n",
            ["x.yaml:4: by_name.a.nam: unknown key; allowed: interval, names"],
            id="unknown-key-in-a-mapping-of-models",
        ),
        pytest.param(
            "size: many\n",
            ["x.yaml:1: size: 'many' found, expected a valid integer, unable to parse string as an integer"],
            id="type",
        ),
        pytest.param(
            "size: 1\ninner: {interval: 5 parsecs}\n",
            ["x.yaml:2: inner.interval: '5 parsecs' is not a duration; write it like 15s, 1h30m or 250ms"],
            id="duration",
        ),
        pytest.param("inner: {}\n", ["x.yaml:1: size: is required"], id="missing"),
        pytest.param("size: 1\nsize: 2\n", ["x.yaml:2: size: stands here twice"], id="duplicate"),
        pytest.param(
            "size: x\nzize: 1\ninner: {names: 3}\n",
            [
                "x.yaml:3: inner.names: 3 found, expected a valid tuple",
                "x.yaml:1: size: 'x' found, expected a valid integer, unable to parse string as an integer",
                "x.yaml:2: zize: unknown key; allowed: inner, by_name, size",
            ],
            id="all-at-once",
        ),
        pytest.param(
            "size: [1\n", ["x.yaml:2: not valid YAML: expected ',' or ']', but got '<stream end>'"], id="not-yaml"
        ),
        pytest.param("", ["x.yaml: is empty"], id="empty"),
        pytest.param(
            "size: ${env:FALLOW_NOT_SET}\n",
            ["x.yaml:1: environment variable FALLOW_NOT_SET is not set"],
            id="env-unset",
        ),
    ],
)
def test_an_error_names_its_place(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_environment_variables_are_filled_in_with_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALLOW_SIZE", "7")
    assert validated(Outer, parse("size: ${env:FALLOW_SIZE}\n", "x.yaml")).size == 7
    text = 'size: 1\ninner: {names: ["${env:FALLOW_SIZE}", "${env:FALLOW_NONE:-b}"]}\n'
    assert validated(Outer, parse(text, "x.yaml")).inner.names == ("7", "b")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"none\.yaml: cannot be read: No such file or directory$"):
        load(tmp_path / "none.yaml", Outer)
