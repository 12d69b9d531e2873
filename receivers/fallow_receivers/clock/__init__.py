"""How far this node's clock is from that of the service, by exchanges of four time stamps."""

from fallow.component import Factory
from fallow_receivers.clock.config import ClockReceiverConfig
from fallow_receivers.clock.receiver import ClockReceiver

FACTORY = Factory(type="clock", config=ClockReceiverConfig, build=ClockReceiver)

__all__ = ["FACTORY", "ClockReceiver", "ClockReceiverConfig"]
