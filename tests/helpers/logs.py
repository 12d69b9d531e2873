"""Logs as they come: lines of several programs, of which three in a hundred are lines of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

START = 1_760_000_000_000_000_000  # ns
SECOND = 1_000_000_000
OF_THE_CORPUS = 0.03
_TEXT = (
    "request handled in pool worker queue depth latency for user session cache miss lookup tenant region shard replica "
    "state updated processing item batch flush completed upload metrics heartbeat scheduler tick node ready pod container "
    "image pulled volume mounted connection from client closed reading partition index retry with backoff config reloaded"
)
WORDS = _TEXT.split()


def _access(r: Random) -> str:
    address = ".".join(str(r.randrange(256)) for _ in range(4))
    path = f"/api/v1/{r.choice(WORDS)}/{r.randrange(10**6)}"
    agent = '"Mozilla/5.0 (X11; Linux x86_64)"'
    return f'{address} - - "GET {path} HTTP/1.1" 200 {r.randrange(10**5)} "-" {agent} rt=0.{r.randrange(1000):03d} id={_id(r, 16)}'


def _json(r: Random) -> str:
    caller = f"server/{r.choice(WORDS)}.go:{r.randrange(900)}"
    return f'{{"level":"info","ts":17600{r.random() * 1e5:.6f},"caller":"{caller}","msg":"{_words(r, 8)}","trace_id":"{_id(r, 32)}"}}'


def _klog(r: Random) -> str:
    place = f"{r.choice(WORDS)}.go:{r.randrange(900)}"
    return f"I0105 08:{r.randrange(60):02d}:{r.random() * 60:09.6f}       1 {place}] {_words(r, 14)} uid={_id(r, 12)}"


def _java(r: Random) -> str:
    name = f"com.example.{r.choice(WORDS)}.{r.choice(WORDS).title()}"
    return f"INFO  [{r.choice(WORDS)}-{r.randrange(64)}] {name} : {_words(r, 16)} took {r.randrange(900)} ms"


def _words(r: Random, count: int) -> str:
    return " ".join(r.choices(WORDS, k=count))


def _id(r: Random, size: int) -> str:
    return f"{r.getrandbits(4 * size):0{size}x}"


_PROGRAMS: Sequence[Callable[[Random], str]] = (_access, _json, _klog, _java)


def corpus_lines(corpus: Path) -> list[str]:
    """Every line of the corpus' logs."""
    files = sorted((corpus / "cre").glob("*/test.log"))
    return [line for file in files for line in file.read_text(errors="replace").splitlines() if line]


def lines(count: int, known: Sequence[str], seed: int = 1) -> list[str]:
    """Lines of which ``OF_THE_CORPUS`` are known ones."""
    r = Random(seed)
    return [r.choice(known) if r.random() < OF_THE_CORPUS else r.choice(_PROGRAMS)(r) for _ in range(count)]


def log_request(texts: Sequence[str], step: int, hosts: int = 10) -> bytes:
    """One Export request: the texts of one second, spread over hosts."""
    request = ExportLogsServiceRequest()
    each = -(-len(texts) // hosts)
    for host in range(hosts):
        rl = request.resource_logs.add()
        for key, value in {
            "host.name": f"node-{host:03d}",
            "service.name": "app",
            "k8s.namespace.name": "team",
        }.items():
            rl.resource.attributes.add(key=key).value.string_value = value
        sl = rl.scope_logs.add()
        for i, text in enumerate(texts[host * each : (host + 1) * each]):
            time = START + step * SECOND + i * (SECOND // each)
            record = sl.log_records.add(time_unix_nano=time, observed_time_unix_nano=time, severity_number=9)
            record.body.string_value = text
            record.attributes.add(key="log.file.path").value.string_value = f"/var/log/pods/team_app-{host}/app/0.log"
    return request.SerializeToString()
