"""Slurm's notation for many names."""

from __future__ import annotations

import doctest

import pytest

from fallow.clients.slurm import hostlist, parse
from fallow.clients.slurm.hostlist import expand, indices


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("n1", ("n1",), id="one"),
        pytest.param("n[1-3,7]", ("n1", "n2", "n3", "n7"), id="ranges"),
        pytest.param("gpu[08-11]", ("gpu08", "gpu09", "gpu10", "gpu11"), id="zeros-stay"),
        pytest.param("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2"), id="two-brackets"),
        pytest.param("r[1-2]n0-ib", ("r1n0-ib", "r2n0-ib"), id="text-behind"),
        pytest.param("a[1,3],login,b2", ("a1", "a3", "login", "b2"), id="several"),
        pytest.param("(null)", (), id="null"),
        pytest.param("None assigned", (), id="none-assigned"),
        pytest.param(None, (), id="absent"),
    ],
)
def test_names(text: str | None, names: tuple[str, ...]) -> None:
    assert expand(text) == names


def test_a_list_of_a_billion_hosts_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1000000 hosts"):
        expand("n[0-1000000000]")


@pytest.mark.parametrize(("text", "numbers"), [("0-2,5", (0, 1, 2, 5)), ("3", (3,)), ("N/A", ()), ("", ())])
def test_indices(text: str, numbers: tuple[int, ...]) -> None:
    assert indices(text) == numbers


@pytest.mark.parametrize("module", [hostlist, parse], ids=lambda module: module.__name__.rpartition(".")[2])
def test_examples(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]  # modules
    assert (failed, tried > 0) == (0, True)
