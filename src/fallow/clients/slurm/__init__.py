"""Slurm from 22.05 on, read by its commands or by slurmrestd: both give the same records, whatever the release."""

from fallow.clients.slurm.cli import Cli
from fallow.clients.slurm.jobcomp import JobcompFile, Position
from fallow.clients.slurm.model import Client, Exit, Job, Node, Phase, Reservation, Settings, SlurmError, Usage
from fallow.clients.slurm.rest import Rest

__all__ = [
    "Cli",
    "Client",
    "Exit",
    "Job",
    "JobcompFile",
    "Node",
    "Phase",
    "Position",
    "Reservation",
    "Rest",
    "Settings",
    "SlurmError",
    "Usage",
]
