"""``fallow detect`` on files with stamps, with all community rules at once: lines a second of one core, and the start.

Times are those of the processor (user and system), so that what else runs on the machine counts less.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from fallow.logfile import LogReader, detect_format

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus" / "cre"
NOISE = 0.97
LINES, MORE_LINES = 100_000, 700_000
READ_LINES = 200_000
LEAST_READ, LEAST_DETECT = 250_000, 100_000
START_S = 1.0
NOW = 1_774_915_200_000_000_000
WORDS = [
    "connection",
    "established",
    "request",
    "completed",
    "worker",
    "pool",
    "metrics",
    "flushed",
    "checkpoint",
    "saved",
    "step",
    "loss",
    "queue",
    "depth",
]

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CORPUS.is_dir(), reason="the conformance corpus is not beside the repository"),
]


def moment(i: int) -> datetime:
    return datetime(2026, 1, 5) + timedelta(milliseconds=7 * i)


FORMATS: dict[str, Callable[[datetime, str], str]] = {
    "RFC 3339": lambda t, text: f"{t.isoformat(timespec='milliseconds')}Z {text}",
    "ISO with zone": lambda t, text: f"{t.isoformat(' ', 'microseconds')}+00:00 {text}",
    "Python": lambda t, text: f"{t:%Y-%m-%d %H:%M:%S},{t.microsecond // 1000:03} {text}",
    "syslog": lambda t, text: f"{t:%b %e %H:%M:%S} host {text}",
    "klog": lambda t, text: f"I{t:%m%d %H:%M:%S.%f} {text}",
    "CRI": lambda t, text: f"{t.isoformat(timespec='microseconds')}000Z stdout F {text}",
    "Docker": lambda t, text: (
        f'{{"log":"{text}\\n","stream":"stdout","time":"{t.isoformat(timespec="microseconds")}Z"}}'
    ),
    "JSON": lambda t, text: f'{{"level":"info","ts":"{t.isoformat(timespec="microseconds")}Z","msg":"{text}"}}',
    "Slurm": lambda t, text: f"[{t.isoformat(timespec='milliseconds')}] {text}",
}


def noise(random: Random) -> str:
    return (
        f"[info] <0.{random.randrange(1000)}.0> {' '.join(random.choices(WORDS, k=16))} id={random.getrandbits(32):08x}"
    )


def own_lines() -> list[str]:
    """Lines of the rules' own logs, without the lines that only other lines make sense of."""
    logs = [path.read_text(errors="replace").splitlines() for path in sorted(CORPUS.glob("*/test.log"))]
    return [line for lines in logs for line in lines[:3] if 20 < len(line) < 400]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs of three lengths; 97 lines of 100 are noise, the others of the kind that rules look for."""
    made = tmp_path_factory.mktemp("logs")
    random, wanted, write = Random(7), own_lines(), FORMATS["ISO with zone"]
    for count in (3, LINES, MORE_LINES):
        with (made / f"{count}.log").open("w", encoding="utf-8") as file:
            for i in range(count):
                text = noise(random) if random.random() < NOISE else random.choice(wanted)
                file.write(write(moment(i), text) + "\n")
    return made


def detect(log: Path) -> float:
    """Processor seconds that it takes, start and end included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["detect", "--lenient", "--rules", str(CORPUS / "all-rules.yaml"), str(log)]
    subprocess.run([sys.executable, "-m", "fallow", *command], check=True, timeout=300, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_starts_in_under_a_second(folder: Path) -> None:
    detect(folder / "3.log")
    taken = min(detect(folder / "3.log") for _ in range(5))
    print(f"\nstart with all community rules, and three lines: {taken:.2f} s of processor time")
    assert taken < START_S


def test_lines_a_second_with_all_rules(folder: Path) -> None:
    detect(folder / f"{LINES}.log")  # compiles, where that was not done yet
    few = min(detect(folder / f"{LINES}.log") for _ in range(3))
    many = min(detect(folder / f"{MORE_LINES}.log") for _ in range(3))
    going = (MORE_LINES - LINES) / (many - few)
    print(
        f"\n{MORE_LINES:,} lines in {many:.1f} s: {MORE_LINES / many:,.0f} lines/s with the start, {going:,.0f} without"
    )
    assert going >= LEAST_DETECT


@pytest.mark.parametrize("name", FORMATS)
def test_lines_read_a_second(name: str) -> None:
    random = Random(7)
    data = "".join(FORMATS[name](moment(i), noise(random)) + "\n" for i in range(READ_LINES)).encode()
    blocks = [data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)]
    taken: list[float] = []
    for _ in range(3):
        began = time.process_time()
        assert sum(len(records) for records in LogReader(blocks, detect_format(data, NOW))) == READ_LINES
        taken.append(time.process_time() - began)
    print(f"\n{name}: {READ_LINES / min(taken):,.0f} lines/s ({READ_LINES / max(taken):,.0f} in the slowest round)")
    assert READ_LINES / min(taken) >= LEAST_READ
