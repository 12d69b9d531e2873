"""OTLP over gRPC and HTTP from any Collector or SDK: the bytes of each request go on as they came."""

from fallow.component import Factory
from fallow_receivers.otlp.config import OtlpReceiverConfig
from fallow_receivers.otlp.receiver import OtlpReceiver

__all__ = ["FACTORY", "OtlpReceiver", "OtlpReceiverConfig"]

FACTORY = Factory(type="otlp", config=OtlpReceiverConfig, build=OtlpReceiver)
