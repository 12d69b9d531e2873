"""The ``attribute`` processor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import numpy as np
from opentelemetry.metrics import CallbackOptions, Observation

from fallow import semconv
from fallow.batch import Batch, Int32Array, LogBatch, MetricBatch
from fallow.component import Context
from fallow.series import clock_of
from fallow.state import Past, Saved, State
from fallow.units import SECOND
from fallow_processors.attribute import _kernels as kernels
from fallow_processors.attribute.config import AttributeConfig
from fallow_processors.attribute.devices import REFUSED, Devices, room
from fallow_processors.attribute.holding import Holding, decide
from fallow_processors.attribute.labels import Relabel
from fallow_processors.attribute.runs import NAMES, Holder, Place, Runs, Span
from fallow_processors.attribute.subject import ACTIVITY, Subject, subject_of
from fallow_processors.attribute.told import Told
from fallow_processors.attribute.waiting import Waiting, in_order_of_time, joined

VERSION = 1
TIDY_NS = 60 * SECOND
NEVER = -1


class AttributeProcessor:
    """Puts on each sample of a GPU whose it was at the sample's time.

    A series becomes another one with each change of hands, and the one before ends there. Samples are taken in order of
    time; what is known of a device is looked up when it may have changed, never for each sample.
    """

    def __init__(self, config: AttributeConfig, context: Context) -> None:
        self._config = config
        self._series = context.series
        self._runs = Runs(config.max_jobs)
        self._devices = Devices(config.max_devices)
        self._relabel = Relabel(context.series, self._devices)
        self._told = Told(context.series)
        self._waiting = Waiting(config.lateness, config.max_waiting)
        self._of = np.zeros(0, dtype=kernels.SERIES)
        self._clock: Int32Array = np.zeros(0, dtype=np.int32)
        """By series: the number of its clock."""
        self._clocks: dict[tuple[str, str], int] = {}
        self._before: dict[int, int] = {}
        """By series: what it had become before a restart."""
        self._first: dict[int, dict[tuple[Holder, int], int]] = {}
        """By device, by holder and start of the run: when it first worked."""
        self._newest = self._tidied = 0
        labels = self._labels = {"processor": context.id}
        self._events = context.meter.create_counter(
            "fallow_processor_attribute_events",
            unit="{event}",
            description="Starts, ends and requeues of jobs, by whether they came in time for the telemetry beside them.",
        )
        self._switches = context.meter.create_counter(
            "fallow_processor_attribute_switches",
            unit="{series}",
            description="Series that became another one because their device changed hands.",
        )
        self._early = context.meter.create_counter(
            "fallow_processor_attribute_early",
            unit="{datapoint}",
            description="Samples that did not wait for late events because too many waited.",
        )
        gauges: tuple[tuple[str, str, str, Callable[[], int]], ...] = (
            ("jobs", "{job}", "Jobs of which something is known.", lambda: len(self._runs)),
            ("waiting", "{datapoint}", "Samples that wait for late events.", lambda: len(self._waiting)),
            ("refused_jobs", "{job}", "Jobs that were not taken because of max_jobs.", lambda: self._runs.refused),
        )
        for name, unit, what, count in gauges:
            context.meter.create_observable_gauge(
                f"fallow_processor_attribute_{name}", callbacks=[_observed(count, labels)], unit=unit, description=what
            )
        context.meter.create_observable_gauge(
            "fallow_processor_attribute_devices",
            callbacks=[self._by_state],
            unit="{device}",
            description="Devices, by whether it is known whose they are: attributed, ambiguous or unattributed.",
        )

    # -- the contract of processors ------------------------------------------------------------------------------------
    def process(self, batch: Batch) -> Batch:
        """The batch with its samples under the names of those whose they are."""
        if batch.logs is not None and len(batch.logs):
            self._hear(batch.logs)
        metrics = batch.metrics
        if metrics is None or len(metrics) == 0:
            return batch
        if not kernels.all_known(metrics.series, self._of):
            self._learn(metrics.series)
        if not self._config.lateness:
            return dataclasses.replace(batch, metrics=self._join(metrics))
        self._waiting.add(metrics, self._clock[metrics.series])
        parts = [self._waiting.reach()]
        early, relieved = self._waiting.relieve()
        if early:
            self._early.add(early, self._labels)
            parts.append(relieved)
        ready = [self._join(part) for part in parts if part is not None]
        return dataclasses.replace(batch, metrics=joined(ready) if ready else None)

    def tick(self, now: int) -> Batch:
        """What has waited long enough by then."""
        return self._released(self._waiting.reach(now))

    def finish(self) -> Batch:
        """What still waits."""
        return self._released(self._waiting.finish())

    def _released(self, metrics: MetricBatch | None) -> Batch:
        return Batch() if metrics is None else Batch(metrics=self._join(metrics))

    # -- what schedulers say -------------------------------------------------------------------------------------------
    def _hear(self, logs: LogBatch) -> None:
        for i, name in enumerate(logs.event_name):
            if name in NAMES:
                said = {**logs.resources[int(logs.source[i])], **logs.attributes(i)}
                time = int(logs.time[i])
                late = time <= max(self._newest, self._waiting.passed)
                self._events.add(1, self._labels | {"event": name, "late": late})
                changed = self._runs.tell(name, time, said)
                for device in chain.from_iterable(map(self._devices.at, changed)):
                    self._devices.renew(device)
                for device in self._devices.naming(said.get(semconv.JOB_ID, "")) if changed else ():
                    self._devices.renew(device)

    # -- samples -------------------------------------------------------------------------------------------------------
    def _join(self, metrics: MetricBatch) -> MetricBatch:
        """The samples as their owners', with what is said of jobs and of series that end."""
        if not kernels.in_order(metrics.time):
            metrics = in_order_of_time(metrics)
        out = np.empty(len(metrics), dtype=np.int32)
        reason, at, proved = kernels.DONE, 0, 0
        while at < len(metrics):
            devices = self._devices
            reason, at, proved = kernels.take(
                at,
                proved,
                self._of,
                devices.columns,
                devices.proof_columns,
                devices.due,
                metrics.series,
                metrics.time,
                metrics.value,
                metrics.stale,
                self._config.active_above,
                out,
            )
            if reason == kernels.EVIDENCE:
                proof = int(self._of["proof"][metrics.series[proved]])
                devices.see(proof, int(metrics.time[proved]), self._config.evidence)
            elif reason != kernels.DONE:
                at += self._decide(reason, int(metrics.series[at]), int(metrics.time[at]), out, at)
        self._newest = max(self._newest, int(metrics.time[-1]))
        if self._newest - self._tidied >= TIDY_NS:
            self._tidy()
        joined_now = MetricBatch(series=out, time=metrics.time, value=metrics.value, stale=metrics.stale)
        # What is said comes first: it is older than what made it known.
        said = self._told.taken()
        return joined_now if said is None else in_order_of_time(joined([said, joined_now]))

    def _decide(self, reason: int, series: int, time: int, out: Int32Array, at: int) -> bool:
        """Do what the kernel stopped for; True where that sample is done with."""
        device = int(self._of["gpu"][series])
        if reason == kernels.GRID:
            self._tell(int(self._devices.columns["host"][device]), time)
        elif reason == kernels.ACTIVITY:
            held = self._devices.known[device].holding
            if held.span is not None:
                self._first.setdefault(device, {}).setdefault((held.span.holder, held.span.start), time)
            self._devices.columns["active"][device] = True
        elif self._is_past(device, time):
            holding, _, _ = self._look_up(device, time)
            out[at] = self._relabel.of(series, holding)
            return True
        else:
            self._switch(series, device, time)
        return False

    def _is_past(self, device: int, time: int) -> bool:
        """Whether a sample is older than what is held of its device."""
        one = self._devices.columns[device]
        return bool(time < one["since"] and one["until"] != kernels.NONE)

    def _switch(self, series: int, device: int, time: int) -> None:
        """Look up what the series is now; where its device changed hands, what it was before ends."""
        columns = self._devices.columns
        if time >= columns["until"][device]:
            self._renew(device, time)
        one = self._of[series]
        before = int(one["out"])
        now = self._relabel.of(series, self._devices.known[device].holding)
        if before >= 0 and before != now:
            self._told.end(before, time)
            self._switches.add(1, self._labels)
        one["out"], one["version"] = now, columns["version"][device]

    def _renew(self, device: int, time: int) -> None:
        self._devices.expire(device, time, self._config.evidence)
        holding, since, until = self._look_up(device, time)
        known, columns = self._devices.known[device], self._devices.columns
        if holding != known.holding:
            known.holding = holding
            columns["version"][device] += 1
        span = holding.span
        columns["active"][device] = span is None or (span.holder, span.start) in self._first.get(device, {})
        columns["since"][device], columns["until"][device] = since, until

    def _look_up(self, device: int, time: int) -> tuple[Holding, int, int]:
        """(whose it is at that time, since when, until when that may hold)."""
        known = self._devices.known[device]
        now = self._devices.named(device)
        jobs = {one.owner.job: tuple(self._runs_on(one.owner.job, known.host)) for one in now if one.owner.job}
        since, until = kernels.NONE, self._devices.next_doubt(device, self._config.evidence)
        since = max((one.seen for one in now if one.seen <= time), default=since)
        holding: list[Span] = []
        here = chain.from_iterable(map(self._runs.at, self._places(device)))
        for span in here:
            if span.start <= time < span.end:
                holding.append(span)
            since, until = _between(since, until, span, time)
        for span in chain.from_iterable(jobs.values()):
            since, until = _between(since, until, span, time)
        newest = max((one.seen for one in now if not one.is_process), default=kernels.FAR)
        if any(span.start > newest for span in holding):
            until = time  # what is newer than all labels counts until one of them is seen again
        found = decide(
            holding,
            now,
            lambda job: _is_over(jobs[job], time),
            is_part=bool(known.whole),
            is_split=known.is_split,
        )
        return _with_names(found, jobs.get(found.job, ()), time), since, max(until, time + 1)

    def _places(self, device: int) -> Iterable[Place]:
        known = self._devices.known[device]
        return self._devices.places_of(known.whole) if known.whole else known.places

    def _runs_on(self, job: str, host: str) -> Iterable[Span]:
        """The runs of a job of that number on a host, or of which it is not known where they are."""
        for span in self._runs.of(job):
            hosts = {place[1] for place in span.places if place[0] != "id"}
            if host in hosts or not hosts:
                yield span

    # -- what is said of jobs ------------------------------------------------------------------------------------------
    def _tell(self, host: int, time: int) -> None:
        """Say age and restarts of a host's runs, and when its devices began to work, as of the last instant of the grid."""
        devices, interval = self._devices, self._config.interval
        instant = time // interval * interval
        first = int(devices.due[host]) == kernels.NONE
        devices.due[host] = instant + interval
        if first or not devices.hosts[host]:
            return
        name = devices.hosts[host]
        for span in self._runs.at(("node", name)):
            if span.start <= instant < span.end:
                self._told.run(span, name, instant)
        for device in devices.on_host[host]:
            for (holder, start), began in list(self._first.get(device, {}).items()):
                run = self._runs.run(holder, start)
                if run is None or run.end <= instant - self._config.forget_after:
                    del self._first[device][holder, start]
                elif began <= instant < run.end:
                    self._told.first_activity(run, device, devices.known[device].labels, instant, began)

    # -- who is who ----------------------------------------------------------------------------------------------------
    def _learn(self, series: Int32Array) -> None:
        known = len(self._of)
        self._of = room(self._of, int(series.max()))
        self._of["gpu"][known:] = kernels.UNSEEN
        self._clock = room(self._clock, len(self._of) - 1)
        for one in np.unique(series[self._of["gpu"][series] == kernels.UNSEEN]).tolist():
            self._learn_one(one)

    def _learn_one(self, series: int) -> None:
        device, proof, out, activity = kernels.AS_IT_IS, -1, self._before_of(series), False
        if series < len(self._series):
            key = self._series.key(series)
            self._clock[series] = self._clocks.setdefault(clock_of(key.labels), len(self._clocks))
            subject = subject_of(key)
            self._take_note(subject, key.labels)
            if subject.place:
                found = self._devices.of(subject)
                if found != REFUSED:
                    proof = self._proof(found, subject)
                    device = kernels.AS_IT_IS if subject.is_allocation else found
                    activity = key.name in ACTIVITY
                    self._relabel.learn(series, subject)
        self._of[series] = (device, proof, NEVER, out, activity)

    def _take_note(self, subject: Subject, labels: Mapping[str, str]) -> None:
        owner = subject.owner
        if labels.get(semconv.K8S_POD_NAME):
            self._devices.is_called(labels.get(semconv.K8S_POD_UID, ""), owner.pod)
            self._devices.is_called(labels.get(semconv.CONTAINER_ID, ""), owner.pod)
        if subject.process and (owner.job or owner.pod) and subject.host:
            self._devices.owns_process(subject.host, subject.process, owner)

    def _proof(self, device: int, subject: Subject) -> int:
        owner = subject.owner
        if subject.process or owner.job or owner.pod:
            return self._devices.proof(device, owner, subject.process)
        return -1

    def _before_of(self, series: int) -> int:
        """What the series was before a restart; -1: it was nothing."""
        return self._before.pop(series, -1)

    def _tidy(self) -> None:
        """Let go of what is too old to matter."""
        self._tidied = self._newest
        old = self._newest - max(self._config.forget_after, self._config.evidence, self._config.lateness)
        self._runs.forget(old)
        self._devices.forget(old)
        self._told.forget()

    # -- own metrics ---------------------------------------------------------------------------------------------------
    def _by_state(self, options: CallbackOptions) -> Iterable[Observation]:
        holdings = [device.holding for device in self._devices.known]
        ambiguous = sum(one.ambiguous for one in holdings)
        nobodys = sum(not (one.job or one.pod or one.ambiguous) for one in holdings)
        counts = {"attributed": len(holdings) - ambiguous - nobodys, "ambiguous": ambiguous, "unattributed": nobodys}
        return [Observation(n, self._labels | {"state": state}) for state, n in counts.items()]

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """What is known of jobs and devices, what each series has become, and what waits."""
        there = np.flatnonzero(self._of["gpu"] >= 0)
        arrays = {"series": there.astype(np.int32), "out": self._of["out"][there].copy()}
        document = {
            "runs": self._runs.document(),
            "devices": self._devices.document(),
            "clocks": list(self._clocks),
            "first": [[device, *run, time] for device, of in self._first.items() for run, time in of.items()],
            "times": [self._newest, self._tidied],
        }
        waiting = self._waiting.save()
        return lambda: State(version=VERSION, document=document, arrays=arrays, parts={"waiting": waiting})

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        """Go on from there; each series is looked up anew."""
        saved = state.of(VERSION)
        document = saved.document
        self._runs.restore(document["runs"])
        self._devices.restore(document["devices"])
        self._clocks = {(label, value): i for i, (label, value) in enumerate(document["clocks"])}
        for device, holder, start, began in document["first"]:
            self._first.setdefault(device, {})[tuple(holder), start] = began
        self._newest, self._tidied = document["times"]
        series, out = saved.arrays["series"], saved.arrays["out"]
        out = np.where(out < 0, -1, past.series[out])
        self._before = {
            int(one): int(was) for one, was in zip(past.series[series], out, strict=True) if one >= 0 and was >= 0
        }
        self._waiting.restore(saved.parts["waiting"], past.series)
        waiting = self._waiting.series()
        if len(waiting):
            self._learn(waiting)
        return {"jobs": len(self._runs), "devices": len(self._devices.known)}


def _observed(
    count: Callable[[], int], labels: Mapping[str, str]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(count(), labels)]


def _between(since: int, until: int, span: Span, time: int) -> tuple[int, int]:
    """The stretch around ``time`` without the edges of the span in it."""
    for edge in (span.start, span.end):
        if edge <= time:
            since = max(since, edge)
        else:
            until = min(until, edge)
    return since, until


def _is_over(runs: Iterable[Span], time: int) -> bool:
    """Whether every run that has begun by then has ended."""
    begun = [span for span in runs if span.start <= time]
    return bool(begun) and all(span.end <= time for span in begun)


def _with_names(holding: Holding, runs: Iterable[Span], time: int) -> Holding:
    """The holding with what a scheduler says of a job that only labels name."""
    if not holding.job or holding.span is not None:
        return holding
    now = [span for span in runs if span.start <= time < span.end]
    if len(now) != 1:
        return holding
    labels = tuple(sorted((dict(now[0].labels) | dict(holding.labels)).items()))
    return dataclasses.replace(holding, labels=labels, span=now[0])
