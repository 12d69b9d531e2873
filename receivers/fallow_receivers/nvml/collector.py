"""One look at all GPUs after the other, through a driver that comes and goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

from opentelemetry.metrics import Meter

from fallow import semconv
from fallow.batch import OtlpRequest
from fallow.clients.nvml import FOREIGN_LIBRARY, DeviceGone, DriverGone, Nvml, NvmlError, key
from fallow.otlp_write import Event, Writer, labels
from fallow.units import SECOND
from fallow_receivers.nvml import events as say
from fallow_receivers.nvml import metrics as m
from fallow_receivers.nvml.config import NvmlReceiverConfig
from fallow_receivers.nvml.device import Device
from fallow_receivers.nvml.discovery import look
from fallow_receivers.nvml.metrics import Epochs, Tick
from fallow_receivers.nvml.processes import ProcessReader
from fallow_receivers.nvml.readings import Reader, readings, status
from fallow_receivers.nvml.topology import topology

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = SECOND, 30 * SECOND
"""Between two attempts to find a driver."""
REOPEN = 60 * SECOND
"""How often the library is opened anew while a GPU is lost: one that came back has another handle."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """The receiver's own metrics of its reading."""

    failed: Callable[[int, str, str], None]
    """How many, reading, reason."""
    implausible: Callable[[int], None]
    left_out: Callable[[int], None]

    @classmethod
    def of(cls, meter: Meter, receiver: str) -> Counts:
        """Instruments of a receiver."""
        failed = meter.create_counter(
            "fallow_receiver_nvml_failed_readings", unit="{reading}", description="Readings that failed, by reason."
        )
        implausible = meter.create_counter(
            "fallow_receiver_nvml_implausible_values",
            unit="{value}",
            description="Values left out because they cannot be.",
        )
        left_out = meter.create_counter(
            "fallow_receiver_nvml_left_out_processes",
            unit="{process}",
            description="Samples of processes left out at the limit of a GPU.",
        )
        own = {"receiver": receiver}
        return cls(
            failed=lambda n, reading, reason: failed.add(n, own | {"reading": reading, "reason": reason}),
            implausible=lambda n: implausible.add(n, own),
            left_out=lambda n: left_out.add(n, own),
        )


class Abandoned(Exception):
    """Another thread reads in place of this one."""


class Collector:
    """Everything that happens in the reading thread.

    Args:
        avoid: index → GPU that is not to be touched, because a call on it does not return (None: it was never known);
            shared with the receiver, which takes out what has come back.
        may_unload: whether no other thread is in the library.
        events: what is to be told with the first tick.
    """

    def __init__(
        self,
        nvml: Nvml,
        config: NvmlReceiverConfig,
        writer: Writer,
        epochs: Epochs,
        counts: Counts,
        *,
        avoid: MutableMapping[int, Device | None] | None = None,
        may_unload: Callable[[], bool] = lambda: True,
        events: tuple[Event, ...] = (),
    ) -> None:
        self._nvml, self._config, self._writer, self._epochs, self._counts = nvml, config, writer, epochs, counts
        self._avoid = {} if avoid is None else avoid
        self._may_unload = may_unload
        self._processes = ProcessReader(config.max_processes) if config.processes else None
        self._reader = Reader(nvml, readings(profiling=config.profiling, processes=self._processes))
        self._listener = say.Listener(nvml)
        self._open = False
        self._gone = ""
        """Why there is no driver, as it was last told."""
        self._next_try, self._pause = 0, FIRST_PAUSE
        self._next_slow, self._next_reopen = 0, 0
        self._driver = ""
        self._gpus: dict[int, Device] = {}
        self._lost: dict[str, Device] = {}
        """Those that answered once and do no more."""
        self._silent: dict[int, str] = {}
        """Index → why nothing is known of a GPU that there is."""
        self._seen: dict[str, Device] | None = None
        """By id: what was there at the last look, kept while there is no driver; None before the first."""
        self._topology: tuple[object, ...] = ()
        self._told_absent: dict[str, dict[str, str]] = {}
        self._events: list[Event] = list(events)
        self._failing: set[tuple[str, str, str]] = set()
        self.abandoned = False
        """Set by the receiver: stop as soon as the call that is under way returns."""
        self.doing: tuple[int | None, float] | None = None
        """Index of the GPU that is being read and since when (monotonic s); None between two ticks."""

    def tick(self, time: int) -> list[OtlpRequest]:
        """Read everything that is due; what is to be sent, events first."""
        try:
            self._touch(None)
            if not self._open and time >= self._next_try:
                self._try_to_open(time)
            if self._open:
                self._read(time)
        except DriverGone as error:
            self._driver_gone(error, time)
        finally:
            self.doing = None
        taken, self._events = self._events, []
        return [r for r in (self._writer.events(taken), self._writer.metrics()) if r is not None]

    def close(self) -> None:
        """Let go of the library."""
        for device in self._gpus.values():
            device.close(self._nvml)
        self._gpus.clear()
        self._listener.close()
        self._nvml.close()
        self._open = False

    # -- the driver ----------------------------------------------------------------------------------------------------
    def _try_to_open(self, time: int) -> None:
        try:
            self._nvml.open()
            self._driver = self._nvml.driver_version()
        except NvmlError as error:
            self._driver_gone(error, time)
            return
        self._open, self._pause = True, FIRST_PAUSE
        self._next_slow, self._next_reopen = 0, time + REOPEN
        if self._gone:
            self._gone = ""
            self._epochs.forget()
            self._events.append(say.driver_found(self._driver, time))
            logger.info("The driver is there.", extra={"version": self._driver})

    def _driver_gone(self, error: NvmlError, time: int) -> None:
        self.close()
        self._topology = ()
        if error.reason == FOREIGN_LIBRARY and self._may_unload():
            self._nvml.unload()
        self._next_try, self._pause = time + self._pause, min(2 * self._pause, LONGEST_PAUSE)
        if error.reason != self._gone:
            self._gone = error.reason
            self._events.append(say.driver_lost(error.reason, time))
            logger.warning("There is no driver to ask.", extra={"reason": error.reason})

    # -- the GPUs ------------------------------------------------------------------------------------------------------
    def gpu(self, index: int) -> Device | None:
        """The GPU of an index, where it is known; for other threads too."""
        return self._gpus.get(index)

    def _read(self, time: int) -> None:
        tick = Tick(self._writer, self._epochs, time)
        slow = time >= self._next_slow
        if slow:
            if (self._lost or self._silent) and time >= self._next_reopen and self._may_unload():
                self.close()
                self._try_to_open(time)
                if not self._open:
                    return
            self._next_slow = time + self._config.slow_interval
            self._look(time)
        self._hear(tick)
        for index, gpu in list(self._gpus.items()):
            try:
                self._read_gpu(gpu, tick, slow=slow)
            except DeviceGone as error:
                self._lose(index, error.reason, time)
                if not slow:
                    status(gpu, tick, "failed")
        if slow:
            for device in (*self._lost.values(), *list(self._avoid.values())):
                if device is not None:
                    status(device, tick, "failed")
            self._tell_changes(time)
        if tick.implausible:
            self._counts.implausible(tick.implausible)
        if self._processes is not None and self._processes.left_out:
            self._counts.left_out(self._processes.left_out)
            self._processes.left_out = 0

    def _read_gpu(self, gpu: Device, tick: Tick, *, slow: bool) -> None:
        for device in (gpu, *gpu.instances):
            self._touch(gpu.identity.index)
            for reading, reason in self._reader.read(device, tick, slow=slow):
                self._failed(device.identity.id, reading, reason)
                if device is not gpu:
                    self._next_slow = 0  # it may have been taken apart: look at the next tick

    def _touch(self, index: int | None) -> None:
        if self.abandoned:
            raise Abandoned
        self.doing = (index, time.monotonic())

    def _failed(self, device: str, reading: str, reason: str) -> None:
        self._counts.failed(1, reading, reason)
        if (place := (device, reading, reason)) not in self._failing:
            self._failing.add(place)
            fields = {"device": device, "reading": reading, "reason": reason}
            logger.warning("A reading failed; this is said once.", extra=fields)

    def _look(self, time: int) -> None:
        """Find out which GPUs and instances there are; tell which have come and which have gone."""
        try:
            count = self._nvml.count()
        except DriverGone:
            raise
        except NvmlError as error:
            self._failed("node", "count", error.reason)
            return
        new = {i: gpu for i in range(count) if (gpu := self._look_at(i, time)) is not None}
        self._touch(None)
        for index, gpu in self._gpus.items():
            if new.get(index) is not gpu:
                gpu.close(self._nvml)
                self._forget(gpu)
        self._gpus = new
        now = {d.identity.id: d for d in self._devices()}
        for id, device in (self._seen or {}).items():
            if id not in now:
                self._events.append(say.lost(device, "removed", time))
        for id, device in now.items():
            self._lost.pop(id, None)
            if self._seen is not None and id not in self._seen:
                self._events.append(say.found(device, time))
        self._seen = now

    def _look_at(self, index: int, time: int) -> Device | None:
        if index in self._avoid:
            return None
        self._touch(index)
        known = self._gpus.get(index)
        try:
            gpu = look(self._nvml, index, self._driver, known)
        except DriverGone:
            raise
        except DeviceGone as error:
            if known is not None:
                self._lose(index, error.reason, time)
            elif self._silent.get(index) != error.reason and index not in {
                d.identity.index for d in self._lost.values()
            }:
                self._silent[index] = error.reason
                self._events.append(say.silent(index, error.reason, time))
            return None
        except NvmlError as error:  # such as instances that are being made: the next look will tell
            self._failed(known.identity.id if known is not None else f"GPU {index}", "look", error.reason)
            return known
        self._silent.pop(index, None)
        if gpu is not known and self._config.events:
            self._listener.watch(gpu)
        return gpu

    def _lose(self, index: int, reason: str, time: int) -> None:
        gpu = self._gpus.pop(index)
        gpu.close(self._nvml)
        self._forget(gpu)
        self._lost[gpu.identity.id] = gpu
        for device in (gpu, *gpu.instances):
            self._events.append(say.lost(device, reason, time))
            if self._seen is not None:
                self._seen.pop(device.identity.id, None)
        logger.error("A GPU does not answer.", extra={"device": gpu.identity.id, "reason": reason})

    def _forget(self, gpu: Device) -> None:
        """It may be reset before it is read again."""
        self._epochs.forget(*(labels for d in (gpu, *gpu.instances) for labels in (d.hw, d.own)))

    def _devices(self) -> Iterator[Device]:
        for gpu in self._gpus.values():
            yield gpu
            yield from gpu.instances

    # -- what is told --------------------------------------------------------------------------------------------------
    def _hear(self, tick: Tick) -> None:
        """The driver's events, and the count of Xid errors; of lost GPUs too, for those say why they are."""
        self._touch(None)
        by_key = {key(gpu.handle): gpu for gpu in (*self._lost.values(), *self._gpus.values())}
        for event in self._listener.take():
            gpu = by_key.get(event.device)
            if gpu is None:
                continue
            device = next((d for d in gpu.instances if d.instance == event.instance), gpu)
            if event.type == say.XID:
                tick.saw(m.XID_ERRORS, device.own + labels({semconv.GPU_XID_CODE: event.data}))
            if event.type == say.MIG_CHANGED:
                self._next_slow = 0
            if (told := say.told(event, device, tick.time)) is not None:
                self._events.append(told)
        tick.put_seen()

    def _tell_changes(self, time: int) -> None:
        """Topology and what is absent, where they are not as they were last told."""
        if self._listener.deaf:
            self._listener.restart(self._gpus.values())
        gpus = list(self._gpus.values())
        shape = tuple((gpu.identity.id, gpu.state.links) for gpu in gpus)
        if shape != self._topology:
            self._topology = shape
            self._events += topology(self._nvml, gpus, time, lambda gpu: self._touch(gpu.identity.index))
            self._touch(None)
        for device in self._devices():
            if self._told_absent.get(device.identity.id, {}) != device.absent:
                self._told_absent[device.identity.id] = dict(device.absent)
                self._events.append(say.absent(device, time))
