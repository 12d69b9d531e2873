"""What Kubernetes does: pods, jobs and nodes as events in the words of every scheduler, and who holds which device."""

from fallow.component import Factory
from fallow_receivers.kubernetes.config import KubernetesReceiverConfig
from fallow_receivers.kubernetes.receiver import KubernetesReceiver

FACTORY = Factory(type="kubernetes", config=KubernetesReceiverConfig, build=KubernetesReceiver)

__all__ = ["FACTORY", "KubernetesReceiver", "KubernetesReceiverConfig"]
