"""What was told, and up to which version of the server's word."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from fallow_receivers.kubernetes.places import Place
from fallow_receivers.kubernetes.work import JobRun, PodRun

VERSION: Final = 1


class Cursor(BaseModel):
    """Where to go on; ``versions`` is empty where nothing ever was told."""

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = VERSION
    cluster: str = ""
    """The uid of the cluster's kube-system namespace."""
    versions: dict[str, str] = {}
    """Kind of objects → resource version of the last change that was told."""
    pods: dict[str, PodRun] = {}
    jobs: dict[str, JobRun] = {}
    over: dict[str, Literal["pod", "job"]] = {}
    nodes: dict[str, Place] = {}
