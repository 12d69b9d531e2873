"""A libnvidia-ml.so.1 of our own that the real pynvml loads: built once, told what to answer by a file."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import gettempdir

SOURCE = Path(__file__).with_name("fake.c")
GIB = 1 << 30

_EVERY_CARD = """
* nvmlDeviceGetUtilizationRates 0 0
* nvmlDeviceGetEncoderUtilization 0 167000
* nvmlDeviceGetDecoderUtilization 0 167000
* nvmlDeviceGetTemperature 33
* nvmlDeviceGetPowerUsage 70000
* nvmlDeviceGetEnforcedPowerLimit 700000
* nvmlDeviceGetClockInfo/1 345
* nvmlDeviceGetClockInfo/2 2619
* nvmlDeviceGetMaxClockInfo/1 1980
* nvmlDeviceGetCurrentClocksEventReasons 1
* nvmlDeviceGetSupportedClocksEventReasons 511
* nvmlDeviceGetComputeRunningProcesses -
* nvmlDeviceGetMPSComputeRunningProcesses -
* nvmlDeviceGetCurrPcieLinkGeneration 5
* nvmlDeviceGetCurrPcieLinkWidth 16
* nvmlDeviceGetMaxPcieLinkGeneration 5
* nvmlDeviceGetMaxPcieLinkWidth 16
* nvmlDeviceGetTopologyCommonAncestor 50
* nvmlDeviceGetVbiosVersion 96.00.74.00.01
* nvmlDeviceGetFieldValues/83 1000000
* nvmlDeviceGetFieldValues/74 2000000000
* nvmlDeviceGetFieldValues/75 0
* nvmlDeviceGetFieldValues/94 3
"""
_DATACENTER = """
* nvmlDeviceGetTotalEccErrors/0 0
* nvmlDeviceGetTotalEccErrors/1 0
* nvmlDeviceGetRemappedRows 0 0 0 0
* nvmlDeviceGetSupportedEventTypes 50062
* nvmlDeviceGetCpuAffinity 0xff
* nvmlDeviceGetMemoryAffinity 1
* nvmlDeviceGetFieldValues/82 40
* nvmlDeviceGetNvLinkState 18 18
* nvmlDeviceGetNvLinkRemoteDeviceType 2
"""
CARDS = {
    # An H100 SXM under a driver of today.
    "hopper": _EVERY_CARD
    + _DATACENTER
    + f"""
* nvmlDeviceGetName NVIDIA H100 80GB HBM3
* nvmlDeviceGetMemoryInfo_v2 {80 * GIB} {1 * GIB} 524288000
* nvmlDeviceGetMigMode 0 0
* nvmlGpmQueryDeviceSupport 1
* nvmlDeviceGetFieldValues/186 71500
* nvmlDeviceGetFieldValues/197 5000
* nvmlDeviceGetFieldValues/198 6000
* nvmlDeviceGetFieldValues/138 10
* nvmlDeviceGetFieldValues/139 20
* nvmlDeviceGetFieldValues/230 0
* nvmlDeviceGetFieldValues/269 0
* nvmlDeviceGetFieldValues/270 0
* nvmlDeviceGetFieldValues/271 0
"""
    + "".join(f"* gpm/{id} 0\n" for id in (1, 2, 3, 4, 5, 10, 11, 12, 13, 20, 21, 60, 61)),
    # An A100: no performance monitor for others than DCGM, NVLink counters.
    "ampere": _EVERY_CARD
    + _DATACENTER
    + f"""
* nvmlDeviceGetName NVIDIA A100-SXM4-80GB
* nvmlDeviceGetMemoryInfo_v2 {80 * GIB} {1 * GIB} 524288000
* nvmlDeviceGetMigMode 0 0
* nvmlDeviceGetFieldValues/186 61500
* nvmlDeviceGetFieldValues/138 10
* nvmlDeviceGetFieldValues/139 20
* nvmlDeviceGetFieldValues/38 0
* nvmlDeviceGetFieldValues/52 4
* nvmlDeviceGetFieldValues/59 0
* nvmlDeviceGetPcieThroughput/0 100
* nvmlDeviceGetPcieThroughput/1 200
""",
    # A workstation card under an old driver: little of all this.
    "old": f"""
* nvmlDeviceGetName Quadro P400
* nvmlDeviceGetMemoryInfo {2 * GIB} {GIB // 4}
* nvmlDeviceGetTemperature 41
* nvmlDeviceGetCurrentClocksEventReasons !13
* nvmlDeviceGetCurrentClocksThrottleReasons 4
* nvmlDeviceGetSupportedClocksEventReasons !13
* nvmlDeviceGetSupportedClocksThrottleReasons 127
* nvmlDeviceGetFieldValues !13
* nvmlDeviceGetComputeRunningProcesses !4
* nvmlDeviceGetClockInfo/1 139
* nvmlDeviceGetFieldValues/82 0
""",
}


@cache
def build(driver: str = "580.65.06") -> Path:
    """Folder with the library, compiled as that of a driver version; raises where there is no compiler."""
    digest = hashlib.sha256(SOURCE.read_bytes() + driver.encode()).hexdigest()[:16]
    folder = Path(gettempdir()) / f"fallow-fake-nvml-{digest}"
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        folder.mkdir(exist_ok=True)
        made = folder / f"{library.name}.{id(folder)}"
        flags = [
            "-O2",
            "-fPIC",
            "-fvisibility=hidden",
            "-shared",
            "-Wall",
            "-Wextra",
            "-Werror",
            f'-DDRIVER="{driver}"',
        ]
        subprocess.run(
            ["gcc", *flags, f"-Wl,-soname,{library.name}", "-o", str(made), str(SOURCE), "-lpthread"], check=True
        )
        made.rename(library)
    return folder


def there_is_a_compiler() -> bool:
    return shutil.which("gcc") is not None


@cache
def preload() -> None:
    """Have this process's pynvml find the fake: what is loaded under a soname is what dlopen finds under it."""
    ctypes.CDLL(str(build() / "libnvidia-ml.so.1"))


class State:
    """What the library answers; a change is seen by the next call."""

    def __init__(self, path: Path, card: str = "hopper", gpus: int = 8) -> None:
        self._path = path
        self._lines = [line for line in CARDS[card].splitlines() if line]
        self._lines.append(f"sys nvmlDeviceGetCount {gpus}")
        for gpu in range(gpus):
            self._lines += [
                f"{gpu} nvmlDeviceGetUUID GPU-00000000-0000-0000-0000-00000000000{gpu}",
                f"{gpu} nvmlDeviceGetSerial 165012300{gpu}",
                f"{gpu} nvmlDeviceGetPciInfo 00000000:{0x17 + gpu:02X}:00.0",
            ]
        self._write()

    def set(self, *lines: str) -> None:
        """Add answers; a later one for a key counts."""
        self._lines += lines
        self._write()

    def drop(self, *starts: str) -> None:
        """Take back the answers that begin so."""
        self._lines = [line for line in self._lines if not line.startswith(starts)]
        self._write()

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_text("\n".join(self._lines) + "\n")
        beside.rename(self._path)


def mig(gpu: int, index: int, instance: int, profile: str, memory: int) -> Sequence[str]:
    """Answers of a MIG instance."""
    id = f"{gpu}/{index}"
    return (
        f"{id} nvmlDeviceGetUUID MIG-0000000{gpu}-0000-0000-0000-00000000000{index}",
        f"{id} nvmlDeviceGetName NVIDIA H100 80GB HBM3 MIG {profile}",
        f"{id} nvmlDeviceGetGpuInstanceId {instance}",
        f"{id} nvmlDeviceGetComputeInstanceId 0",
        f"{id} nvmlDeviceGetMemoryInfo_v2 {memory} 13000000 0",
    )


def lines(text: str | Iterable[str]) -> list[str]:
    """Answers of a text, one a line."""
    found = text.splitlines() if isinstance(text, str) else list(text)
    return [line.strip() for line in found if line.strip()]
