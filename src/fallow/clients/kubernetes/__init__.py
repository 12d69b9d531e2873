"""Kubernetes: its API server through the kubernetes library's configuration and transport, and the kubelet's socket."""

from fallow.clients.kubernetes.api import Api
from fallow.clients.kubernetes.kubelet import Kubelet
from fallow.clients.kubernetes.model import (
    Allocation,
    Change,
    Container,
    Ended,
    Expired,
    Forbidden,
    Gpus,
    Happening,
    Job,
    KubernetesError,
    Node,
    Owner,
    Page,
    Pod,
    Resource,
)
from fallow.clients.kubernetes.parse import happening, job, newer, node, pod

__all__ = [
    "Allocation",
    "Api",
    "Change",
    "Container",
    "Ended",
    "Expired",
    "Forbidden",
    "Gpus",
    "Happening",
    "Job",
    "Kubelet",
    "KubernetesError",
    "Node",
    "Owner",
    "Page",
    "Pod",
    "Resource",
    "happening",
    "job",
    "newer",
    "node",
    "pod",
]
