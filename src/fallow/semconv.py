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
HW_NAME: Final = "hw.name"
HW_VENDOR: Final = "hw.vendor"
HW_SERIAL_NUMBER: Final = "hw.serial_number"
HW_DRIVER_VERSION: Final = "hw.driver_version"
HW_FIRMWARE_VERSION: Final = "hw.firmware_version"
HW_STATE: Final = "hw.state"
GPU_TASK: Final = "hw.gpu.task"
IO_DIRECTION: Final = "network.io.direction"
ERROR_TYPE: Final = "error.type"
PROCESS_PID: Final = "process.pid"
PROCESS_NAME: Final = "process.executable.name"
THROTTLE_REASON: Final = "fallow.gpu.throttle.reason"
GPU_ENGINE_NAME: Final = "fallow.gpu.engine"
GPU_LINK_STATE: Final = "fallow.gpu.link.state"
GPU_XID_CODE: Final = "fallow.gpu.xid.code"
HOST_NAME: Final = "host.name"
CONTAINER_ID: Final = "container.id"
K8S_POD_NAME: Final = "k8s.pod.name"
K8S_POD_UID: Final = "k8s.pod.uid"
K8S_NAMESPACE_NAME: Final = "k8s.namespace.name"
K8S_CONTAINER_NAME: Final = "k8s.container.name"
K8S_CLUSTER_UID: Final = "k8s.cluster.uid"
K8S_NODE_NAME: Final = "k8s.node.name"
K8S_OWNERS: Final = {  # the kind of what controls a pod → the attribute of its name
    kind: f"k8s.{kind.lower()}.name" for kind in ("Job", "CronJob", "ReplicaSet", "StatefulSet", "DaemonSet")
}
K8S_RESTARTS: Final = "k8s.container.restart_count"
K8S_EVENT_REASON: Final = "k8s.event.reason"
K8S_EVENT_COUNT: Final = "k8s.event.count"
K8S_EVENT_SOURCE: Final = "k8s.event.source"
K8S_OBJECT_KIND: Final = "k8s.object.kind"
K8S_OBJECT_NAME: Final = "k8s.object.name"
K8S_OBJECT_UID: Final = "k8s.object.uid"
K8S_RESOURCE_NAME: Final = "k8s.resource.name"  # such as nvidia.com/gpu
SERVICE_NAME: Final = "service.name"
GPU_INDEX: Final = "fallow.gpu.index"
SIGNAL: Final = "fallow.signal"  # of a health reading: the signal that it is about
JOB_ID: Final = "fallow.job.id"
JOB_NAME: Final = "fallow.job.name"
JOB_STATE: Final = "fallow.job.state"  # the scheduler's word: RUNNING, COMPLETED, OUT_OF_MEMORY …
JOB_REASON: Final = "fallow.job.reason"
JOB_RESTARTS: Final = "fallow.job.restarts"  # how often it was requeued: (job, restarts) is one run
JOB_ACCOUNT: Final = "fallow.job.account"
JOB_PARTITION: Final = "fallow.job.partition"
JOB_QOS: Final = "fallow.job.qos"
JOB_ARRAY_ID: Final = "fallow.job.array.id"
JOB_ARRAY_INDEX: Final = "fallow.job.array.index"
JOB_NODES: Final = "fallow.job.nodes"  # array of names
JOB_GPU_INDICES: Final = "fallow.job.gpu.indices"  # array of node:index
ATTRIBUTION_AMBIGUOUS: Final = (
    "fallow.attribution.ambiguous"  # "true": several may hold the device, nobody knows whose it is
)
ATTRIBUTION_CANDIDATE: Final = "fallow.attribution.candidate"  # a job that may hold it, as the source had it
PROCESS_CGROUP: Final = "process.cgroup"
HW_INSTANCE: Final = "GPU_I_ID"  # of a split GPU, as dcgm-exporter numbers its parts
JOB_WAIT: Final = "fallow.job.wait"  # s between submission and start
JOB_EXIT_CODE: Final = "fallow.job.exit.code"
JOB_EXIT_SIGNAL: Final = "fallow.job.exit.signal"
JOB_RESERVATION: Final = "fallow.job.reservation"
JOB_CPU_TIME: Final = "fallow.job.cpu.time"  # s, of all its processes
JOB_MEMORY_PEAK: Final = "fallow.job.memory.peak"  # By
USER_NAME: Final = "fallow.user.name"
CLUSTER_NAME: Final = "fallow.cluster.name"
NODE_STATE: Final = "fallow.node.state"
NODE_REASON: Final = "fallow.node.reason"
RESERVATION_NAME: Final = "fallow.reservation.name"
RESERVATION_START: Final = "fallow.reservation.start"  # Unix s
RESERVATION_END: Final = "fallow.reservation.end"  # Unix s
RESERVATION_NODES: Final = "fallow.reservation.nodes"  # array of names
RESERVATION_USERS: Final = "fallow.reservation.users"
RESERVATION_ACCOUNTS: Final = "fallow.reservation.accounts"
RESERVATION_FLAGS: Final = "fallow.reservation.flags"
RECORD_UID: Final = "log.record.uid"  # records with the same one are one
EVENT_NAME: Final = "event.name"
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
GPU_FP64: Final = "fallow.gpu.fp64.utilization"
GPU_FP32: Final = "fallow.gpu.fp32.utilization"
GPU_FP16: Final = "fallow.gpu.fp16.utilization"
GPU_INTEGER: Final = "fallow.gpu.integer.utilization"
GPU_MEMORY_UTILIZATION: Final = "hw.gpu.memory.utilization"
GPU_MEMORY_RESERVED: Final = "fallow.gpu.memory.reserved"
GPU_MEMORY_TEMPERATURE: Final = "fallow.gpu.memory.temperature"
GPU_MEMORY_CLOCK: Final = "fallow.gpu.memory.clock"
GPU_SM_CLOCK_LIMIT: Final = "fallow.gpu.sm.clock.limit"
GPU_POWER_LIMIT: Final = "fallow.gpu.power.limit"
GPU_IO: Final = "hw.gpu.io"
GPU_PCIE_REPLAYS: Final = "fallow.gpu.pcie.replays"
GPU_PCIE_GENERATION: Final = "fallow.gpu.pcie.link.generation"
GPU_PCIE_WIDTH: Final = "fallow.gpu.pcie.link.width"
GPU_PCIE_GENERATION_LIMIT: Final = "fallow.gpu.pcie.link.generation.limit"
GPU_PCIE_WIDTH_LIMIT: Final = "fallow.gpu.pcie.link.width.limit"
GPU_NVLINK_IO: Final = "fallow.gpu.nvlink.io"
GPU_NVLINK_ERRORS: Final = "fallow.gpu.nvlink.errors"
GPU_NVLINKS: Final = "fallow.gpu.nvlink.links"
GPU_THROTTLE_REASONS: Final = "fallow.gpu.throttle.reasons"
GPU_THROTTLE_ACTIVE: Final = "fallow.gpu.throttle.active"
GPU_THROTTLE_TIME: Final = "fallow.gpu.throttle.time"
GPU_XID_ERRORS: Final = "fallow.gpu.xid.errors"
GPU_RECOVERY_ACTION: Final = "fallow.gpu.recovery_action"
GPU_ROWS_REMAPPED: Final = "fallow.gpu.memory.rows.remapped"
GPU_ROW_REMAP_PENDING: Final = "fallow.gpu.memory.rows.remap_pending"
GPU_ROW_REMAP_FAILED: Final = "fallow.gpu.memory.rows.remap_failed"
HW_ERRORS: Final = "hw.errors"
HW_STATUS: Final = "hw.status"
PROCESS_GPU_MEMORY: Final = "fallow.process.gpu.memory.usage"
PROCESS_GPU_UTILIZATION: Final = "fallow.process.gpu.utilization"
GPU_ENCODER: Final = "fallow.gpu.encoder.utilization"
GPU_DECODER: Final = "fallow.gpu.decoder.utilization"
GPU_MEMORY_FREE: Final = "fallow.gpu.memory.free"
GPU_PCIE: Final = "fallow.gpu.pcie.throughput"
GPU_NVLINK: Final = "fallow.gpu.nvlink.throughput"
GPU_NVLINK_TOTAL: Final = "fallow.gpu.nvlink.throughput.total"
GPU_SM_CLOCK: Final = "fallow.gpu.sm.clock"
GPU_XID: Final = "fallow.gpu.xid"
GPU_PAGES_RETIRED: Final = "fallow.gpu.memory.pages.retired"
CUDA_GRAPH_LAUNCHES: Final = "fallow.cuda.graph.launches"
CUDA_ALLOCATED: Final = "fallow.cuda.allocation.size"
CUDA_OPERATIONS: Final = "fallow.cuda.operations"
SYSTEM_CPU_TIME: Final = "system.cpu.time"
CPU_TIME: Final = "fallow.cpu.time"
CPU_UTILIZATION: Final = "system.cpu.utilization"
HOST_MEMORY_USAGE: Final = "system.memory.usage"
HOST_BOOT_TIME: Final = "fallow.host.boot.time"
HOST_UPTIME: Final = "system.uptime"
HOST_PRESSURE: Final = "fallow.host.pressure.time"
DISK_IO: Final = "system.disk.io"
NETWORK_IO: Final = "system.network.io"
NETWORK_ERRORS: Final = "system.network.errors"
CONTAINER_CPU_TIME: Final = "container.cpu.time"
CONTAINER_MEMORY_USAGE: Final = "container.memory.usage"
CONTAINER_RESTARTS: Final = "k8s.container.restart.count"
SERVING_REQUESTS: Final = "fallow.serving.requests"
SERVING_REQUEST_RATE: Final = "fallow.serving.request.rate"
SERVING_RUNNING: Final = "fallow.serving.requests.running"
SERVING_WAITING: Final = "fallow.serving.requests.waiting"
SERVING_KV_CACHE: Final = "fallow.serving.kv_cache.utilization"
SERVING_PREEMPTIONS: Final = "fallow.serving.preemptions"
SERVING_TOKENS: Final = "fallow.serving.tokens"
SCHEDULER_GPUS: Final = "fallow.scheduler.gpus"
SCHEDULER_JOBS: Final = "fallow.scheduler.jobs"
SCHEDULER_NODES: Final = "fallow.scheduler.nodes"
SIGNAL_HEALTH: Final = "fallow.signal.health"
HOST_POWER: Final = "hw.host.power"
GPU_POWER_IDLE: Final = "fallow.gpu.power.idle_baseline"
GPU_POWER_RUNNING: Final = "fallow.gpu.power.running_level"
GPU_MEMORY_IDLE: Final = "fallow.gpu.memory.idle_baseline"
HOST_POWER_IDLE: Final = "fallow.host.power.idle_baseline"
HOST_POWER_RUNNING: Final = "fallow.host.power.running_level"
STEP_PERIOD: Final = "fallow.training.step_period"
REQUESTS_EXPECTED: Final = "fallow.requests.expected"
GPU_IDLE_PERSISTENCE: Final = "fallow.gpu.idle.persistence"
GPU_IDLE_PERSISTENCE_PEAK: Final = "fallow.gpu.idle.persistence.peak"
EVENT: Final = "fallow.event"
CUDA_KERNEL_LAUNCHES: Final = "fallow.cuda.kernel.launches"
CUDA_COPIES: Final = "fallow.cuda.copies"
CUDA_COPY_IO: Final = "fallow.cuda.copy.io"
CUDA_ALLOCATIONS: Final = "fallow.cuda.allocations"
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
CACHE_REFERENCES: Final = "fallow.cpu.cache.references"
CACHE_MISSES: Final = "fallow.cpu.cache.misses"
CACHE_MISS_RATIO: Final = "fallow.cpu.cache.miss_ratio"
PROBE_UP: Final = "fallow.probe.up"
PROBE_LOST: Final = "fallow.probe.lost"
CLOCK_OFFSET: Final = "fallow.clock.offset"
CLOCK_UNCERTAINTY: Final = "fallow.clock.uncertainty"
JOB_GPU_ALLOCATED: Final = "fallow.job.gpu.allocated"
NODE_GPUS: Final = "fallow.node.gpus"
NODE_GPUS_ALLOCATED: Final = "fallow.node.gpus.allocated"
NODE_CPUS: Final = "fallow.node.cpus"
NODE_CPUS_ALLOCATED: Final = "fallow.node.cpus.allocated"
NODE_MEMORY: Final = "fallow.node.memory"
NODE_MEMORY_ALLOCATED: Final = "fallow.node.memory.allocated"
NODE_AVAILABLE: Final = "fallow.node.available"
QUEUE_JOBS: Final = "fallow.queue.jobs"
QUEUE_GPUS: Final = "fallow.queue.gpus"
QUEUE_WAIT: Final = "fallow.queue.wait"
JOB_GPUS: Final = "fallow.job.gpus"
JOB_CPUS: Final = "fallow.job.cpus"
JOB_MEMORY_LIMIT: Final = "fallow.job.memory.limit"
JOB_TIME_LIMIT: Final = "fallow.job.time.limit"
JOB_TIME_USED: Final = "fallow.job.time.used"
JOB_AGE: Final = "fallow.job.age"
JOB_GPU_FIRST_ACTIVITY: Final = "fallow.job.gpu.first_activity"

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
    GPU_FP64: "1",
    GPU_FP32: "1",
    GPU_FP16: "1",
    GPU_ENCODER: "1",
    GPU_DECODER: "1",
    GPU_MEMORY_FREE: "By",
    GPU_MEMORY_RESERVED: "By",
    GPU_MEMORY_TEMPERATURE: "Cel",
    GPU_MEMORY_CLOCK: "Hz",
    GPU_POWER_LIMIT: "W",
    GPU_IO: "By",
    GPU_PCIE: "By/s",
    GPU_PCIE_REPLAYS: "{replay}",
    GPU_PCIE_GENERATION: "{generation}",
    GPU_PCIE_WIDTH: "{lane}",
    GPU_PCIE_WIDTH_LIMIT: "{lane}",  # the most, of this GPU in this slot
    GPU_NVLINK: "By/s",  # by direction
    GPU_NVLINK_TOTAL: "By/s",  # where a source gives only the sum of both directions
    GPU_NVLINK_ERRORS: "{error}",
    GPU_SM_CLOCK: "Hz",
    GPU_SM_CLOCK_LIMIT: "Hz",
    GPU_THROTTLE_REASONS: "{bitmask}",  # bits of nvmlClocksEventReasons
    GPU_THROTTLE_ACTIVE: "{flag}",
    GPU_THROTTLE_TIME: "s",
    GPU_XID: "{xid}",  # the code of the last one
    GPU_XID_ERRORS: "{error}",
    HW_ERRORS: "{error}",
    GPU_ROWS_REMAPPED: "{row}",
    GPU_ROW_REMAP_PENDING: "{flag}",  # 1 while a remap waits for a reset of the GPU
    GPU_ROW_REMAP_FAILED: "{flag}",
    GPU_PAGES_RETIRED: "{page}",
    PROCESS_GPU_MEMORY: "By",
    PROCESS_GPU_UTILIZATION: "1",
    CUDA_OPERATIONS: "{call}",
    SYSTEM_CPU_TIME: "s",
    CPU_UTILIZATION: "1",
    HOST_MEMORY_USAGE: "By",
    HOST_BOOT_TIME: "s",  # Unix time
    HOST_UPTIME: "s",
    HOST_PRESSURE: "s",
    DISK_IO: "By",
    NETWORK_IO: "By",
    NETWORK_ERRORS: "{error}",
    CONTAINER_CPU_TIME: "s",
    CONTAINER_MEMORY_USAGE: "By",  # the working set
    CONTAINER_RESTARTS: "{restart}",
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
    CLOCK_OFFSET: "s",  # of the service's clock from this node's: above 0 where this node is behind
    CLOCK_UNCERTAINTY: "s",  # the offset is no further than so from what it is said to be
    # What a scheduler says; of jobs also attributes of its events.
    JOB_GPU_ALLOCATED: "{gpu}",  # 1 for each GPU that a job holds, labelled with host, index and job
    NODE_GPUS: "{gpu}",
    NODE_GPUS_ALLOCATED: "{gpu}",
    NODE_CPUS: "{cpu}",
    NODE_CPUS_ALLOCATED: "{cpu}",
    NODE_MEMORY: "By",
    NODE_MEMORY_ALLOCATED: "By",
    NODE_AVAILABLE: "1",  # 1 where jobs may be started, 0 where the node is down or drained
    QUEUE_JOBS: "{job}",  # by partition and state
    QUEUE_GPUS: "{gpu}",  # asked for or held, by partition and state
    QUEUE_WAIT: "s",  # of the job that has been eligible for longest, by partition
    JOB_GPUS: "{gpu}",
    JOB_CPUS: "{cpu}",
    JOB_MEMORY_LIMIT: "By",
    JOB_TIME_LIMIT: "s",
    JOB_TIME_USED: "s",
    JOB_AGE: "s",  # since the start of the run, on each host that it has
    JOB_RESTARTS: "{restart}",  # likewise
    JOB_GPU_FIRST_ACTIVITY: "s",  # from the start of the run to the first work on the GPU; absent until then
    SERVING_RUNNING: "{request}",
    SERVING_WAITING: "{request}",
    SERVING_KV_CACHE: "1",
    SERVING_PREEMPTIONS: "{preemption}",
    SERVING_TOKENS: "{token}",
    SCHEDULER_GPUS: "{gpu}",
    SCHEDULER_JOBS: "{job}",
    SCHEDULER_NODES: "{node}",
    GPU_IDLE_PERSISTENCE: "1",  # probability of staying idle for ten minutes more
    GPU_IDLE_PERSISTENCE_PEAK: "1",
    SIGNAL_HEALTH: "{state}",  # 0 is ok; the numbers of the other states are in fallow.signals
    HOST_POWER: "W",  # of the whole node
    # What `baselines` has learnt.
    GPU_POWER_IDLE: "W",
    GPU_POWER_RUNNING: "W",
    GPU_MEMORY_IDLE: "By",
    HOST_POWER_IDLE: "W",
    HOST_POWER_RUNNING: "W",
    STEP_PERIOD: "s",
    REQUESTS_EXPECTED: "{request}/s",  # of this hour of the week
    EVENT: "{event}",  # 1 at the time of each event, labelled with event.name
}

# -- events out ------------------------------------------------------------------------------------------------------
DETECTION_EVENT: Final = "fallow.detection"
RECOMMENDATION_EVENT: Final = "fallow.recommendation"

# -- events in: what scheduler receivers say ---------------------------------------------------------------------------
JOB_SUBMIT: Final = "fallow.job.submit"
JOB_START: Final = "fallow.job.start"
JOB_END: Final = "fallow.job.end"

POD_START: Final = "fallow.pod.start"  # a node took it: what it asked for is its own
POD_END: Final = "fallow.pod.end"
CONTAINER_RESTART: Final = "fallow.container.restart"
KUBERNETES_EVENT: Final = "fallow.kubernetes.event"  # an Event object

# -- events in: what the kernel says -----------------------------------------------------------------------------------
OOM_KILL: Final = "fallow.oom.kill"
JOB_REQUEUE: Final = "fallow.job.requeue"
JOB_USAGE: Final = "fallow.job.usage"  # what accounting says after the end
NODE_DOWN: Final = "fallow.node.down"
NODE_DRAIN: Final = "fallow.node.drain"
NODE_RESUME: Final = "fallow.node.resume"  # neither down nor drained any more
RESERVATION_CREATE: Final = "fallow.reservation.create"
RESERVATION_UPDATE: Final = "fallow.reservation.update"
RESERVATION_OVER: Final = "fallow.reservation.over"
# -- events in: what the nvml receiver says ------------------------------------------------------------------------------
GPU_XID_EVENT: Final = "fallow.gpu.xid"
GPU_ECC_EVENT: Final = "fallow.gpu.ecc.uncorrected"
GPU_RECOVERY_EVENT: Final = "fallow.gpu.recovery_action"
GPU_MIG_EVENT: Final = "fallow.gpu.mig.changed"
GPU_LOST: Final = "fallow.gpu.lost"
GPU_FOUND: Final = "fallow.gpu.found"
GPU_DRIVER_LOST: Final = "fallow.gpu.driver.lost"
GPU_DRIVER_FOUND: Final = "fallow.gpu.driver.found"
GPU_TOPOLOGY: Final = "fallow.gpu.topology"
GPU_ABSENT: Final = "fallow.gpu.absent"
