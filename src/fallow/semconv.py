"""Every attribute, signal and event name that Fallow uses, with its unit.

``hw.*`` follows OpenTelemetry's hardware conventions (https://opentelemetry.io/docs/specs/semconv/hardware/gpu/);
what they lack stands under ``fallow.*``. A signal has one name and one unit, whatever vendor name it came under.
"""

from __future__ import annotations

from typing import Final

# -- attributes ------------------------------------------------------------------------------------------------------
HW_ID: Final = "hw.id"  # GPU UUID, MIG UUID for an instance
HW_TYPE: Final = "hw.type"
HW_MODEL: Final = "hw.model"
HW_PARENT: Final = "hw.parent"
HOST_NAME: Final = "host.name"
CONTAINER_ID: Final = "container.id"
K8S_POD_NAME: Final = "k8s.pod.name"
K8S_NAMESPACE_NAME: Final = "k8s.namespace.name"
K8S_CONTAINER_NAME: Final = "k8s.container.name"
SERVICE_NAME: Final = "service.name"
GPU_INDEX: Final = "fallow.gpu.index"
JOB_ID: Final = "fallow.job.id"
JOB_NAME: Final = "fallow.job.name"
USER_NAME: Final = "fallow.user.name"
EVENT_NAME: Final = "event.name"

# What identifies an entity, the most specific first.
IDENTITY: Final = (HW_ID, GPU_INDEX, CONTAINER_ID, JOB_ID, K8S_POD_NAME, K8S_NAMESPACE_NAME, HOST_NAME)

# -- signals: name → unit --------------------------------------------------------------------------------------------
GPU_UTILIZATION: Final = "hw.gpu.utilization"
GPU_MEMORY_USAGE: Final = "hw.gpu.memory.usage"
GPU_MEMORY_LIMIT: Final = "hw.gpu.memory.limit"
GPU_POWER: Final = "hw.power"
GPU_ENERGY: Final = "hw.energy"
GPU_TEMPERATURE: Final = "hw.temperature"
GPU_ENGINE: Final = "fallow.gpu.engine.utilization"
GPU_SM: Final = "fallow.gpu.sm.utilization"
GPU_OCCUPANCY: Final = "fallow.gpu.sm.occupancy"
GPU_TENSOR: Final = "fallow.gpu.tensor.utilization"
GPU_DRAM: Final = "fallow.gpu.dram.utilization"
GPU_MEMORY_CONTROLLER: Final = "fallow.gpu.memory_controller.utilization"
GPU_PCIE: Final = "fallow.gpu.pcie.throughput"
GPU_NVLINK: Final = "fallow.gpu.nvlink.throughput"
GPU_SM_CLOCK: Final = "fallow.gpu.sm.clock"
SERVING_REQUESTS: Final = "fallow.serving.requests"
SERVING_REQUEST_RATE: Final = "fallow.serving.request.rate"
EVENT: Final = "fallow.event"

SIGNALS: Final[dict[str, str]] = {
    GPU_UTILIZATION: "1",
    GPU_MEMORY_USAGE: "By",
    GPU_MEMORY_LIMIT: "By",
    GPU_POWER: "W",
    GPU_ENERGY: "J",
    GPU_TEMPERATURE: "Cel",
    GPU_ENGINE: "1",
    GPU_SM: "1",
    GPU_OCCUPANCY: "1",
    GPU_TENSOR: "1",
    GPU_DRAM: "1",
    GPU_MEMORY_CONTROLLER: "1",
    GPU_PCIE: "By/s",
    GPU_NVLINK: "By/s",
    GPU_SM_CLOCK: "Hz",
    SERVING_REQUESTS: "{request}",  # cumulative count of requests served
    SERVING_REQUEST_RATE: "{request}/s",
    EVENT: "{event}",  # 1 at the time of each event, labelled with event.name
}

# -- events out ------------------------------------------------------------------------------------------------------
DETECTION_EVENT: Final = "fallow.detection"
RECOMMENDATION_EVENT: Final = "fallow.recommendation"

# -- events in: what scheduler receivers say ---------------------------------------------------------------------------
JOB_START: Final = "fallow.job.start"
JOB_END: Final = "fallow.job.end"
