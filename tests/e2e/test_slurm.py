"""A real Slurm, real jobs, and ``fallow run`` beside it: each event once, whoever is restarted or killed on the way."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from e2e import slurm_cluster, slurm_releases
from e2e.processes import Program, answers, free_ports, until
from e2e.slurm_cluster import SlurmCluster
from fallow import semconv
from helpers.sink import LogsSink
from helpers.slurm import attributes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CONFIG = """\
receivers:
  slurm:
    interval: 1s
    node_interval: 1s
    history: {history}
    {reading}
exporters:
  otlp: {{endpoint: "127.0.0.1:{sink}", tls: {{insecure: true}}}}
service:
  telemetry: {{health: {{endpoint: "127.0.0.1:{health}"}}}}
  pipelines:
    slurm: {{receivers: [slurm], exporters: [otlp]}}
"""


@dataclass
class Agent:
    """``fallow run`` with the receiver, and the backend that it sends to."""

    program: Program
    sink: LogsSink

    def records(self) -> list[LogRecord]:
        """Events in the order in which they came."""
        return [r for of in self.sink.resources() for scope in of.scope_logs for r in scope.log_records]

    def of_job(self, job: str) -> list[str]:
        """What was told of a job: the event's last word, with the state of an end."""
        told = []
        for record in self.records():
            said = attributes_of(record)
            if said.get(semconv.JOB_ID) == job and record.event_name != semconv.JOB_USAGE:
                state = said.get(semconv.JOB_STATE, "")
                told.append(f"{record.event_name.rpartition('.')[2]} {state}".strip())
        return told

    def of_node(self, node: str) -> list[str]:
        return [
            record.event_name
            for of in self.sink.resources()
            if attributes_of(of.resource).get(semconv.HOST_NAME) == node
            for scope in of.scope_logs
            for record in scope.log_records
            if record.event_name.startswith("fallow.node.")
        ]

    def until(self, true: Callable[[], bool], timeout_s: float = 40) -> None:
        until(true, timeout_s, lambda: f"{self.shown()}\n{self.program.tail()}")

    def shown(self) -> str:
        return "\n".join(f"{r.event_name} {attributes_of(r)}" for r in self.records())

    def assert_none_twice(self) -> None:
        told: dict[object, int] = defaultdict(int)
        for record in self.records():
            told[attributes_of(record)[semconv.RECORD_UID]] += 1
        assert max(told.values()) == 1, self.shown()


@contextmanager
def cluster(release: str = "", **settings: object) -> Generator[SlurmCluster]:
    """A running cluster, of the system's Slurm where no release is named; skips with the reason where none can be had."""
    system = slurm_cluster.missing()
    if system:
        pytest.skip(system)
    root = None
    if release:
        if reason := slurm_releases.missing(release):
            pytest.skip(reason)
        root = slurm_releases.root_of(release)
    # Paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as base:
        made = SlurmCluster(Path(base), root=root, **settings)  # type: ignore[arg-type]  # passed on as they are
        with made:
            yield made


@contextmanager
def agent(slurm: SlurmCluster, folder: Path, *, rest: bool = False, history: str = "auto") -> Generator[Agent]:
    sink = LogsSink()
    sink.up()
    (health,) = free_ports(1)
    reading = f"commands: {slurm.commands}\n    conf: {slurm.conf}"
    if rest:
        slurm.start_rest()
        token = folder / "token"
        token.write_text(slurm.token())
        reading = f"rest: {{endpoint: 'unix:{slurm.rest_socket}', user: {slurm.user}, token_file: {token}}}"
        if history == "jobcomp":
            reading += f"\n    jobcomp_file: {slurm.jobcomp_file}"
    config = folder / "fallow.yaml"
    config.write_text(CONFIG.format(history=history, reading=reading, sink=sink.port, health=health))
    command = [sys.executable, "-m", "fallow", "run", str(config)]
    program = Program("fallow", command, answers(f"http://127.0.0.1:{health}"), {}, folder / "fallow.log")
    program.start()
    try:
        yield Agent(program, sink)
    finally:
        program.stop()
        sink.down()
        print(program.tail())


CASES = [
    pytest.param("", False, id="system-commands"),
    pytest.param("", True, id="system-slurmrestd"),
    pytest.param("24.11", False, id="24.11-commands"),
    pytest.param("24.11", True, id="24.11-slurmrestd"),
    pytest.param("26.05", False, id="26.05-commands"),
    pytest.param("26.05", True, id="26.05-slurmrestd"),
]


@pytest.mark.parametrize(("release", "rest"), CASES)
def test_every_event_once_whoever_is_restarted(release: str, rest: bool, tmp_path: Path) -> None:
    with cluster(release) as slurm, agent(slurm, tmp_path, rest=rest, history="jobcomp") as fallow:
        fails = slurm.submit("sleep 2; exit 3", "--gres=gpu:1", "-J", "fails")
        long = slurm.submit("sleep 600", "--gres=gpu:2", "-N2", "-J", "long")
        held = slurm.submit("sleep 600", "--gres=gpu:1", "--hold", "-J", "held")
        first, second = slurm.submit("sleep 1", "--array=0-1", "-J", "array"), ""
        fallow.until(lambda: "start" in fallow.of_job(long) and "end FAILED" in fallow.of_job(fails))
        second = next(
            str(attributes_of(r)[semconv.JOB_ID])
            for r in fallow.records()
            if attributes_of(r).get(semconv.JOB_ARRAY_ID) == first and attributes_of(r)[semconv.JOB_ID] != first
        )
        # Measurements come after the events of a look.
        fallow.until(lambda: {(host, job) for host, job, _ in _gpus_measured(fallow)} >= {("n1", long), ("n2", long)})
        held_since = _gpus_measured(fallow)
        assert sorted(index for host, job, index in held_since if job == long and host == "n2") == _gpus_in_use(
            slurm, "n2"
        )

        # Away for maintenance, and back.
        slurm.stop_controller()
        time.sleep(3)
        slurm.start_controller()
        slurm.run("scancel", held)
        slurm.run("scontrol", "requeue", long)
        told = time.time()
        slurm.run("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=bad gpu")
        fallow.until(lambda: "requeue" in fallow.of_job(long) and "end CANCELLED" in fallow.of_job(held))
        fallow.until(lambda: fallow.of_node("n4") == [semconv.NODE_DRAIN])

        # A crash, and jobs that begin and end while the receiver is away.
        slurm.until_saved(told)
        slurm.kill_controller()
        slurm.start_controller()
        assert fallow.program.stop() == 0
        unseen = slurm.submit("sleep 1", "--gres=gpu:1", "-J", "unseen")
        slurm.wait(unseen, "COMPLETED")
        slurm.run("scontrol", "update", "NodeName=n4", "State=RESUME")
        fallow.program.start()
        fallow.until(lambda: "end COMPLETED" in fallow.of_job(unseen))

        # The receiver is killed.
        slurm.wait(long, "RUNNING")
        fallow.until(lambda: fallow.of_job(long).count("start") == 2)
        time.sleep(1.5)  # what was told last is noted by now
        fallow.program.kill()
        slurm.run("scancel", long)
        slurm.wait(long, "CANCELLED")
        fallow.program.start()
        fallow.until(lambda: "end CANCELLED" in fallow.of_job(long))
        time.sleep(3)

        ran = ["submit", "start", "end COMPLETED"]
        assert {job: fallow.of_job(job) for job in (fails, long, held, first, second, unseen)} == {
            fails: ["submit", "start", "end FAILED"],
            long: ["submit", "start", "end REQUEUED", "requeue", "start", "end CANCELLED"],
            held: ["submit", "end CANCELLED"],
            first: ran,
            second: ran,
            unseen: ran,
        }, fallow.shown()
        assert fallow.of_node("n4") == [semconv.NODE_DRAIN, semconv.NODE_RESUME]
        fallow.assert_none_twice()
        times = slurm.run("squeue", "-h", "--states=all", "-j", fails, "-o", "%V %S %e").split()
        seconds = [r.time_unix_nano // 10**9 for r in fallow.records() if attributes_of(r).get(semconv.JOB_ID) == fails]
        assert [time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at)) for at in seconds] == times


@pytest.mark.parametrize(
    ("release", "history", "rest"),
    [
        pytest.param("", "jobcomp", False, id="system-jobcomp"),
        pytest.param("", "none", False, id="system-none"),
        pytest.param("", "slurmdbd", False, id="system-slurmdbd"),
        pytest.param("", "slurmdbd", True, id="system-slurmdbd-slurmrestd"),
        pytest.param("24.11", "slurmdbd", False, id="24.11-slurmdbd"),
        pytest.param("24.11", "slurmdbd", True, id="24.11-slurmdbd-slurmrestd"),
        pytest.param("26.05", "slurmdbd", False, id="26.05-slurmdbd"),
        pytest.param("26.05", "slurmdbd", True, id="26.05-slurmdbd-slurmrestd"),
    ],
)
def test_jobs_that_the_controller_has_forgotten(release: str, history: str, rest: bool, tmp_path: Path) -> None:
    accounting = history == "slurmdbd"
    if accounting and (absent := slurm_cluster.missing_accounting()):
        pytest.skip(absent)
    with (
        cluster(release, accounting=accounting, jobcomp=history == "jobcomp", min_job_age=2) as slurm,
        agent(slurm, tmp_path, rest=rest) as fallow,
    ):
        seen = slurm.submit("sleep 10", "--gres=gpu:2", "-J", "seen")
        fallow.until(lambda: "start" in fallow.of_job(seen))
        time.sleep(1.5)
        fallow.program.stop()
        unseen = slurm.submit("sleep 1; exit 5", "--gres=gpu:1", "-J", "unseen")
        # The controller looks for what is old enough to be forgotten once a minute.
        until(lambda: not slurm.state(seen) and not slurm.state(unseen), 150, slurm.logs)
        fallow.program.start()
        fallow.until(lambda: any(text.startswith("end") for text in fallow.of_job(seen)))
        time.sleep(3)
        told = {job: fallow.of_job(job) for job in (seen, unseen)}
        if history == "none":
            assert told == {seen: ["submit", "start", "end UNKNOWN"], unseen: []}
            assert "There is neither slurmdbd nor a jobcomp log" in fallow.program.log.read_text()
        else:
            ended = {seen: "COMPLETED", unseen: "FAILED"}
            assert told == {job: ["submit", "start", f"end {state}"] for job, state in ended.items()}, fallow.shown()
        fallow.assert_none_twice()


@pytest.mark.parametrize(("release", "rest"), CASES)
def test_what_a_job_asked_for_and_what_it_used(release: str, rest: bool, tmp_path: Path) -> None:
    if absent := slurm_cluster.missing_accounting():
        pytest.skip(absent)
    with cluster(release, accounting=True) as slurm, agent(slurm, tmp_path, rest=rest) as fallow:
        # Perl, since it is in every release's tree: 200 MiB, 2 s.
        burns = "$n = 200 << 20; $x = chr(97) x $n; while ((times)[0] < 2) {}"
        job = slurm.submit(f"perl -e '{burns}'; sleep 1", "--gres=gpu:3", "--mem=4G", "-c2", "-t", "30")
        found: list[LogRecord] = []

        def known() -> bool:
            found[:] = [r for r in fallow.records() if r.event_name == semconv.JOB_USAGE]
            return bool(found)

        fallow.until(known, 60)
        said = attributes_of(found[0])
        assert {name: said[name] for name in (semconv.JOB_ID, semconv.JOB_GPUS, semconv.JOB_CPUS)} == {
            semconv.JOB_ID: job,
            semconv.JOB_GPUS: 3,
            semconv.JOB_CPUS: 2,
        }
        assert (said[semconv.JOB_MEMORY_LIMIT], said[semconv.JOB_TIME_LIMIT]) == (4 << 30, 1800)
        assert 2 <= float(str(said[semconv.JOB_CPU_TIME])) < 10
        assert 200 << 20 < int(str(said[semconv.JOB_MEMORY_PEAK])) < 400 << 20
        fallow.assert_none_twice()


def _gpus_measured(fallow: Agent) -> set[tuple[str, str, str]]:
    """(host, job, index) of all GPUs that were ever reported as held."""
    found: set[tuple[str, str, str]] = set()
    for request in fallow.sink.metrics.requests:
        for of in request.resource_metrics:
            host = str(attributes_of(of.resource).get(semconv.HOST_NAME, ""))
            for metric in of.scope_metrics[0].metrics:
                if metric.name == semconv.JOB_GPU_ALLOCATED:
                    for point in metric.gauge.data_points:
                        said = attributes_of(point)
                        found.add((host, str(said[semconv.JOB_ID]), str(said[semconv.GPU_INDEX])))
    return found


def _gpus_in_use(slurm: SlurmCluster, node: str) -> list[str]:
    """Indices as scontrol shows them: GresUsed=gpu:a100:2(IDX:0-1)."""
    said = slurm.run("scontrol", "-o", "-d", "show", "node", node)
    first, _, last = said.partition("GresUsed=")[2].partition("IDX:")[2].partition(")")[0].partition("-")
    return [str(index) for index in range(int(first), int(last or first) + 1)]
