"""The receiver's configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns


def _at_least_a_second(ns: int) -> int:
    if ns < duration_ns("1s"):
        raise ValueError("it is below the minimum 1s")
    return ns


def _endpoint(text: str) -> str:
    if not re.fullmatch(r"unix:/.+|https?://[^/:]+(:\d+)?|https?://\[[^\]]+\](:\d+)?", text):
        raise ValueError(f"{text!r} is no address; write unix:/path/of/socket or https://host:6820")
    return text


Interval = Annotated[DurationNs, AfterValidator(_at_least_a_second)]


class RestSettings(ComponentConfig):
    """Where slurmrestd is, and who asks."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        description="unix:/path/of/socket or http(s)://host:port."
    )
    user: str = Field(default="", description="Sent as X-SLURM-USER-NAME; left out with rest_auth/local.")
    token: SecretStr | None = Field(default=None, description="JWT, sent as X-SLURM-USER-TOKEN.")
    token_file: Path | None = Field(
        default=None, description="File with the JWT, read anew for each request, so that it can be renewed."
    )
    version: Annotated[str, Field(pattern=r"^(v0\.0\.\d+)?$")] = Field(
        default="", description="API version such as v0.0.42; left out: the newest that both sides know."
    )
    ca_file: Path | None = Field(default=None, description="PEM that the server's certificate comes from, with https.")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        return self


class SlurmReceiverConfig(ComponentConfig):
    """How Slurm is read, how often, and where the receiver notes how far it is."""

    rest: RestSettings | None = Field(default=None, description="slurmrestd; left out: Slurm's commands are run.")
    commands: Path | None = Field(
        default=None, description="Folder of squeue, sinfo, scontrol and sacct; left out: PATH."
    )
    conf: Path | None = Field(default=None, description="slurm.conf for the commands; left out: where Slurm finds it.")
    cluster: str = Field(default="", description="Name of the cluster; left out: as Slurm says.")
    interval: Interval = Field(
        default=duration_ns("15s"),
        description="Time between two looks at the jobs; at least 1s. Stretched, up to 4 times, where Slurm is slow to answer.",
    )
    node_interval: Interval = Field(
        default=duration_ns("30s"), description="Time between two looks at nodes and reservations; at least 1s."
    )
    timeout: Interval = Field(default=duration_ns("30s"), description="How long an answer may take.")
    cursor: Path = Field(
        default=Path("slurm-cursor.json"),
        description="File, relative to this one, that says what was told already; one for each receiver.",
    )
    history: Literal["auto", "slurmdbd", "jobcomp", "none"] = Field(
        default="auto",
        description=(
            "Where ended jobs are looked up that the controller has forgotten; auto: slurmdbd where the cluster has it, "
            "else the jobcomp/filetxt log where it can be read, else nowhere, and it says so."
        ),
    )
    jobcomp_file: Path | None = Field(
        default=None, description="The jobcomp/filetxt log; left out: where the cluster's configuration has it."
    )
    job_metrics: bool = Field(default=True, description="Whether each running job's request is reported as metrics.")
    domain: str = Field(
        default="", description="What is put behind node names to make host.name, such as .cluster.example.org."
    )
