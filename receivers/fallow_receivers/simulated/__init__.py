"""A simulated GPU cluster with known truth, for demonstrations and tests; it says in its resource that it is simulated."""

from fallow.component import Context, Factory
from fallow_receivers.simulated.cluster import Cluster, Span, Truth
from fallow_receivers.simulated.config import SimulatedConfig
from fallow_receivers.simulated.receiver import SimulatedReceiver, send


def _build(config: SimulatedConfig, context: Context) -> SimulatedReceiver:
    return SimulatedReceiver(config)


FACTORY = Factory(type="simulated", config=SimulatedConfig, build=_build)

__all__ = ["FACTORY", "Cluster", "SimulatedConfig", "SimulatedReceiver", "Span", "Truth", "send"]
