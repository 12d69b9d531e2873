"""What Slurm does: jobs, nodes and reservations as events, queue and allocations as metrics, each event once."""

from fallow.component import Factory
from fallow_receivers.slurm.config import SlurmReceiverConfig
from fallow_receivers.slurm.receiver import SlurmReceiver

FACTORY = Factory(type="slurm", config=SlurmReceiverConfig, build=SlurmReceiver)

__all__ = ["FACTORY", "SlurmReceiver", "SlurmReceiverConfig"]
