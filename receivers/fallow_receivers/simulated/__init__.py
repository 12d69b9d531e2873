"""A simulated GPU cluster with known truth, for trying out and for measuring what the service finds.

As a component it feeds a pipeline of its own service; ``send`` exports the same telemetry to a service over gRPC.
"""

from fallow.component import Factory
from fallow_receivers.simulated.cluster import Cluster, Span, Truth
from fallow_receivers.simulated.config import SimulatedReceiverConfig
from fallow_receivers.simulated.receiver import SimulatedReceiver
from fallow_receivers.simulated.sender import send

FACTORY = Factory(type="simulated", config=SimulatedReceiverConfig, build=SimulatedReceiver)

__all__ = ["FACTORY", "Cluster", "SimulatedReceiver", "SimulatedReceiverConfig", "Span", "Truth", "send"]
