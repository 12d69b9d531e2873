"""Looks at nodes and reservations: what went wrong with them and when it was over, each once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fallow.clients.slurm import Node, Reservation
from fallow_receivers.slurm.places import Nodes, Reservations
from fallow_receivers.slurm.said import Event

IDLE = Node(name="n1", state="IDLE", flags=frozenset())
DRAINED = replace(IDLE, flags=frozenset({"DRAIN"}), reason="bad gpu", reason_time=105)
DOWN = replace(IDLE, state="DOWN", reason="Not responding", reason_time=105)
DRAINED_AND_DOWN = replace(DRAINED, state="DOWN")  # Slurm keeps the older reason
FAILING = replace(IDLE, flags=frozenset({"FAIL"}))
UNKNOWN = replace(IDLE, state="UNKNOWN")


def said(events: list[Event]) -> list[str]:
    return [f"{e.name.rpartition('.')[2]}@{e.time_s}" for e in events]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # looks are at 100, 110, 120 …
        pytest.param([IDLE, DRAINED, DRAINED, IDLE], ["drain@105", "resume@130"], id="drained-and-back"),
        pytest.param([DRAINED], ["drain@100"], id="drained-in-the-future-of-this-clock"),
        pytest.param([replace(DRAINED, reason_time=7)], ["drain@7"], id="drained-long-ago"),
        pytest.param([IDLE, FAILING], ["drain@110"], id="failing-without-reason"),
        pytest.param([IDLE, DOWN, IDLE], ["down@105", "resume@120"], id="down-and-back"),
        pytest.param(
            [IDLE, DRAINED, DRAINED_AND_DOWN, DRAINED, IDLE],
            ["drain@105", "down@120", "resume@140"],
            id="down-while-drained",
        ),
        pytest.param([DOWN, UNKNOWN, DOWN], ["down@100"], id="unknown-after-a-restart-of-the-controller"),
    ],
)
def test_nodes(looks: list[Node], expected: list[str]) -> None:
    nodes = Nodes()
    times = [(90 + 10 * i if i else 0, 100 + 10 * i) for i in range(len(looks))]
    assert [
        text
        for look, (since, now) in zip(looks, times, strict=True)
        for text in said(nodes.observe([look], since, now))
    ] == expected


def test_why_a_node_is_away() -> None:
    nodes = Nodes()
    (drain,) = nodes.observe([DRAINED], 100, 110)
    assert (drain.node, drain.attributes) == (
        "n1",
        {"fallow.node.state": "IDLE+DRAIN", "fallow.node.reason": "bad gpu"},
    )
    (resume,) = nodes.observe([replace(IDLE, reason="bad gpu")], 110, 120)  # later releases keep the reason
    assert resume.attributes == {"fallow.node.state": "IDLE"}


def test_what_is_told_again_after_a_crash_is_the_same() -> None:
    told = []
    for seconds_later in (0, 7):
        nodes = Nodes()
        events = nodes.observe([IDLE], 0, 100)
        events += nodes.observe([DRAINED], 100, 110 + seconds_later)
        events += nodes.observe([IDLE], 110, 120 + seconds_later)
        events += nodes.observe([replace(DRAINED, reason_time=125)], 120, 130 + seconds_later)
        told.append([event.uid("c") for event in events])
    assert told[0] == told[1]
    assert len(set(told[0])) == 3


def test_two_troubles_without_a_reason_of_their_own_are_two() -> None:
    nodes = Nodes()
    looks = [DRAINED, DRAINED_AND_DOWN, DRAINED, DRAINED_AND_DOWN]
    events = [e for i, look in enumerate(looks) for e in nodes.observe([look], 100 + 10 * i, 110 + 10 * i)]
    assert said(events) == ["drain@105", "down@120", "down@140"]
    assert len({event.uid("c") for event in events}) == 3


def test_reservations() -> None:
    reservations = Reservations()
    one = Reservation(name="maint", start=500, end=600, nodes=("n1", "n2"), users="root", flags=("MAINT",))
    longer = replace(one, end=900)
    events = reservations.observe([one], 100)
    events += reservations.observe([one], 110)
    events += reservations.observe([longer], 120)
    events += reservations.observe([longer], 550)
    events += reservations.observe([], 930)
    assert said(events) == ["create@100", "update@120", "over@900"]
    assert events[0].attributes == {
        "fallow.reservation.name": "maint",
        "fallow.reservation.start": 500,
        "fallow.reservation.end": 600,
        "fallow.reservation.nodes": ("n1", "n2"),
        "fallow.reservation.users": "root",
        "fallow.reservation.flags": ("MAINT",),
    }
    assert reservations.observe([one], 1000)[0].time_s == 1000
    assert said(reservations.observe([], 1010)) == ["over@600"]  # it ended before it was looked at again
