"""Records what Slurm's commands print in a small scenario: ``python tests/golden/slurm/record.py 22.05 24.11 26.05``.

Each release gets a folder with a folder for each look: what squeue, sinfo and scontrol printed, without what is of no
interest and large (the sockets of each job).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from e2e.slurm_cluster import SlurmCluster
from e2e.slurm_releases import root_of

HERE = Path(__file__).parent


def scenario(cluster: SlurmCluster, folder: Path) -> None:
    """Four looks: jobs of all kinds; one failed, one requeued, one cancelled in the queue; running again; over."""
    fails = cluster.submit("sleep 4; exit 3", "--gres=gpu:1", "-J", "a failing job", "-t", "5")
    long = cluster.submit("sleep 500", "--gres=gpu:2", "-N2", "-J", "two nodes", "-t", "90")
    held = cluster.submit("sleep 500", "--gres=gpu:4", "--hold", "-J", "held")
    array = cluster.submit("sleep 500", "--array=5-6%1", "-J", "array", "--mem=2G", "-c", "2")
    cluster.wait(long, "RUNNING")
    cluster.wait(fails, "RUNNING")
    cluster.until(lambda: "R" in cluster.run("squeue", "-h", "-j", array, "-o", "%t").split(), "array")
    look(cluster, folder / "0")
    cluster.wait(fails, "FAILED")
    cluster.run("scancel", held)
    cluster.run("scontrol", "requeue", long)
    cluster.wait(long, "PENDING")
    reservation = ["ReservationName=maintenance", "StartTime=now+600", "Duration=60", "Users=root", "Nodes=n3"]
    cluster.run("scontrol", "create", "reservation", *reservation)
    cluster.run("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=bad gpu")
    cluster.run("scontrol", "update", "NodeName=n3", "State=DOWN", "Reason=no answer")
    time.sleep(2)
    look(cluster, folder / "1")
    cluster.run("scontrol", "delete", "reservation=maintenance")
    cluster.run("scontrol", "update", "NodeName=n4", "State=RESUME")
    cluster.wait(long, "RUNNING")
    look(cluster, folder / "2")
    cluster.run("scancel", long, array)
    cluster.wait(long, "CANCELLED")
    time.sleep(3)
    look(cluster, folder / "3")


def look(cluster: SlurmCluster, folder: Path) -> None:
    folder.mkdir(parents=True)
    old = cluster.version < (23, 2)
    jobs = json.loads(cluster.run("squeue", "--json", "--all", "--states=all"))
    for job in jobs["jobs"]:
        job["job_resources"] = _without_sockets(job.get("job_resources"))
    nodes = json.loads(cluster.run(*(("sinfo", "--json") if old else ("scontrol", "--json", "--all", "show", "nodes"))))
    for node in nodes["nodes"]:
        node["operating_system"] = "Linux"  # not of whom it was recorded
    (folder / "time").write_text(f"{int(time.time())}\n")
    (folder / "squeue").write_text(json.dumps(jobs) + "\n")
    (folder / "nodes").write_text(json.dumps(nodes) + "\n")
    cluster.environment["SLURM_TIME_FORMAT"] = "%s"
    (folder / "reservation").write_text(cluster.run("scontrol", "--oneliner", "--all", "show", "reservation"))
    del cluster.environment["SLURM_TIME_FORMAT"]
    wanted = ("AccountingStorageType", "ClusterName", "JobCompType", "MinJobAge", "SLURM_VERSION")
    config = [line for line in cluster.run("scontrol", "show", "config").splitlines() if line.startswith(wanted)]
    (folder / "config").write_text("\n".join(config) + "\n")


def _without_sockets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_sockets(inner) for name, inner in value.items() if name != "sockets"}
    return [_without_sockets(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    for release in sys.argv[1:]:
        target = HERE / release
        shutil.rmtree(target, ignore_errors=True)
        base = Path(tempfile.mkdtemp(prefix="slurm-"))
        with SlurmCluster(base, jobcomp=False, root=None if release == "22.05" else root_of(release)) as made:
            scenario(made, target)
        shutil.rmtree(base)
        print(target)
