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
K8S_POD_UID: Final = "k8s.pod.uid"
K8S_NAMESPACE_NAME: Final = "k8s.namespace.name"
K8S_CONTAINER_NAME: Final = "k8s.container.name"
SERVICE_NAME: Final = "service.name"
GPU_INDEX: Final = "fallow.gpu.index"
JOB_ID: Final = "fallow.job.id"
JOB_NAME: Final = "fallow.job.name"
USER_NAME: Final = "fallow.user.name"
EVENT_NAME: Final = "event.name"
PROCESS_PID: Final = "process.pid"  # as the host numbers it
PROCESS_NAME: Final = "process.executable.name"
ERROR_TYPE: Final = "error.type"
DISK_IO_DIRECTION: Final = "disk.io.direction"
NETWORK_IO_DIRECTION: Final = "network.io.direction"
CUDA_COPY_KIND: Final = "fallow.cuda.copy.kind"
CUDA_WAIT_SCOPE: Final = "fallow.cuda.wait.scope"
NCCL_OPERATION: Final = "fallow.nccl.operation"
PROBE_GROUP: Final = "fallow.probe.group"
PROBE_BACKEND: Final = "fallow.probe.backend"
PROBE_REASON: Final = "fallow.probe.reason"

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
CUDA_KERNEL_LAUNCHES: Final = "fallow.cuda.kernel.launches"
CUDA_GRAPH_LAUNCHES: Final = "fallow.cuda.graph.launches"
CUDA_COPIES: Final = "fallow.cuda.copies"
CUDA_COPY_IO: Final = "fallow.cuda.copy.io"
CUDA_ALLOCATIONS: Final = "fallow.cuda.allocations"
CUDA_ALLOCATED: Final = "fallow.cuda.allocation.size"
CUDA_FREES: Final = "fallow.cuda.frees"
CUDA_WAITS: Final = "fallow.cuda.waits"
CUDA_WAIT_TIME: Final = "fallow.cuda.wait.time"
CUDA_ERRORS: Final = "fallow.cuda.errors"
NCCL_CALLS: Final = "fallow.nccl.calls"
NCCL_IO: Final = "fallow.nccl.io"
SCHED_RUN_QUEUE_TIME: Final = "fallow.sched.run_queue.time"
SCHED_BLOCKED_TIME: Final = "fallow.sched.blocked.time"
SCHED_MIGRATIONS: Final = "fallow.sched.migrations"
BLOCK_IO: Final = "fallow.block.io"
BLOCK_LATENCY: Final = "fallow.block.latency"
BLOCK_ERRORS: Final = "fallow.block.errors"
TCP_IO: Final = "fallow.tcp.io"
TCP_RETRANSMITS: Final = "fallow.tcp.retransmits"
MAJOR_FAULTS: Final = "fallow.memory.major_faults"
CPU_CYCLES: Final = "fallow.cpu.cycles"
CPU_INSTRUCTIONS: Final = "fallow.cpu.instructions"
CPU_IPC: Final = "fallow.cpu.instructions_per_cycle"
CPU_TIME: Final = "fallow.cpu.time"
CACHE_REFERENCES: Final = "fallow.cpu.cache.references"
CACHE_MISSES: Final = "fallow.cpu.cache.misses"
CACHE_MISS_RATIO: Final = "fallow.cpu.cache.miss_ratio"
PROBE_UP: Final = "fallow.probe.up"
PROBE_LOST: Final = "fallow.probe.lost"

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
    CUDA_KERNEL_LAUNCHES: "{launch}",
    CUDA_GRAPH_LAUNCHES: "{launch}",
    CUDA_COPIES: "{copy}",
    CUDA_COPY_IO: "By",
    CUDA_ALLOCATIONS: "{allocation}",
    CUDA_ALLOCATED: "By",
    CUDA_FREES: "{free}",
    CUDA_WAITS: "{wait}",
    CUDA_WAIT_TIME: "s",
    CUDA_ERRORS: "{error}",
    NCCL_CALLS: "{call}",
    NCCL_IO: "By",
    SCHED_RUN_QUEUE_TIME: "s",
    SCHED_BLOCKED_TIME: "s",
    SCHED_MIGRATIONS: "{migration}",
    BLOCK_IO: "By",
    BLOCK_LATENCY: "s",
    BLOCK_ERRORS: "{error}",
    TCP_IO: "By",
    TCP_RETRANSMITS: "{segment}",
    MAJOR_FAULTS: "{fault}",
    CPU_CYCLES: "{cycle}",
    CPU_INSTRUCTIONS: "{instruction}",
    CPU_IPC: "{instruction}/{cycle}",
    CPU_TIME: "s",
    CACHE_REFERENCES: "{reference}",
    CACHE_MISSES: "{miss}",
    CACHE_MISS_RATIO: "1",
    PROBE_UP: "1",  # 1 while a group of probes measures, 0 with the reason while it does not
    PROBE_LOST: "{update}",
    EVENT: "{event}",  # 1 at the time of each event, labelled with event.name
}

# -- events out ------------------------------------------------------------------------------------------------------
DETECTION_EVENT: Final = "fallow.detection"
RECOMMENDATION_EVENT: Final = "fallow.recommendation"

# -- events in: what scheduler receivers say ---------------------------------------------------------------------------
JOB_START: Final = "fallow.job.start"
JOB_END: Final = "fallow.job.end"

# -- events in: what the kernel says -----------------------------------------------------------------------------------
OOM_KILL: Final = "fallow.oom.kill"
