"""The action catalogue: every kind of action there is, with its tier and what it may be done to.

A rule suggests a kind, a playbook allows it; neither can name one that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fallow.model import Tier

TargetKind = Literal["gpu", "job", "node", "workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionKind:
    """One kind of action."""

    tier: Tier
    """The lowest tier it may be given in a playbook."""
    targets: tuple[TargetKind, ...]
    text: str


CATALOGUE: Mapping[str, ActionKind] = {
    "record": ActionKind(tier="T0", targets=("gpu", "job", "node", "workload"), text="Write it down, tell nobody."),
    "notify": ActionKind(
        tier="T1", targets=("gpu", "job", "node", "workload"), text="Tell the owner, with the evidence."
    ),
    "resize": ActionKind(tier="T1", targets=("job", "workload"), text="Ask for fewer or smaller devices next time."),
    "tune": ActionKind(tier="T1", targets=("job", "workload"), text="Change batch size, workers or checkpoints."),
    "hold": ActionKind(tier="T2", targets=("job",), text="Keep a pending job from starting."),
    "release": ActionKind(tier="T2", targets=("job",), text="Let a held job start."),
    "suspend": ActionKind(tier="T2", targets=("job", "workload"), text="Stop it for now; it goes on later."),
    "resume": ActionKind(tier="T2", targets=("job", "workload"), text="Let what was suspended go on."),
    "requeue": ActionKind(tier="T2", targets=("job",), text="Back to the queue, after a checkpoint."),
    "scale": ActionKind(tier="T2", targets=("workload",), text="Change the number of replicas."),
    "power_limit": ActionKind(tier="T2", targets=("gpu",), text="Set the power limit of a device."),
    "cordon": ActionKind(tier="T2", targets=("node",), text="Start nothing new on the node."),
    "uncordon": ActionKind(tier="T2", targets=("node",), text="Let work start on the node again."),
    "cancel": ActionKind(tier="T3", targets=("job", "workload"), text="End it; its unsaved work is lost."),
    "evict": ActionKind(tier="T3", targets=("workload",), text="Move it elsewhere; its unsaved work is lost."),
    "drain": ActionKind(tier="T4", targets=("node",), text="Empty the node for repair."),
}
