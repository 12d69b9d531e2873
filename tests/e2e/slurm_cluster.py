"""A real Slurm cluster in a private directory: munged, slurmctld, a slurmd for each node, with GPUs that are not there.

Nothing of /etc is used, all ports are free ones, all daemons are children: clusters run side by side.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from e2e.processes import free_ports, listens

DAEMONS = ("munged", "slurmctld", "slurmd", "squeue", "sinfo", "scontrol", "sbatch", "scancel")
COMMANDS = ("squeue", "sinfo", "scontrol", "sacct")
READY_S, STOP_S = 60.0, 10.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONF = """\
ClusterName={name}
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmUser={me}
SlurmdUser={me}
AuthType=auth/munge
# 5 s is the least: before that a requeued job does not start again.
AuthInfo=socket={base}/munge/sock,cred_expire=5
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={base}/jwt.key
CredType=cred/munge
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_continue
GresTypes=gpu
# Nodes may claim what this machine does not have.
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MinJobAge={min_job_age}
DefMemPerCPU=1000
"""


def missing() -> str:
    """Why no cluster of the system's Slurm can be had here; empty where one can."""
    absent = [name for name in DAEMONS if shutil.which(name, path=SYSTEM_PATH) is None]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install munge slurmctld slurmd slurm-client)"
    return ""


def missing_accounting() -> str:
    """Why no cluster with accounting can be had here; empty where one can."""
    absent = [name for name in ("slurmdbd", "mariadbd") if shutil.which(name, path=SYSTEM_PATH) is None]
    if absent:
        return (
            f"{', '.join(absent)} not installed (apt-get install slurmdbd slurm-wlm-mysql-plugin mariadb-server-core)"
        )
    return ""


@dataclass
class SlurmCluster:
    """Four nodes with four GPUs each.

    Args:
        base: an empty folder, below which everything lies; its path is short, for the sake of sockets.
        accounting: with slurmdbd and a MariaDB of its own.
        jobcomp: with a log of ended jobs.
        root: a tree that holds another Slurm.
    """

    base: Path
    name: str = "mini"
    nodes: Sequence[str] = ("n1", "n2", "n3", "n4")
    gpus: int = 4
    accounting: bool = False
    jobcomp: bool = True
    min_job_age: int = 300
    root: Path | None = None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def conf(self) -> Path:
        return self.base / "slurm.conf"

    @property
    def commands(self) -> Path:
        """Folder with Slurm's commands as they work from outside of the tree."""
        return self.base / "commands"

    @property
    def rest_socket(self) -> Path:
        return self.base / "rest" / "sock"

    @property
    def user(self) -> str:
        return pwd.getpwuid(os.geteuid()).pw_name

    @property
    def jobcomp_file(self) -> Path:
        return self.base / "log" / "jobcomp.txt"

    # -- what is done with it ------------------------------------------------------------------------------------------
    def run(self, *command: str, check: bool = True) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            self._inside(command), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """A job's id."""
        said = self.run("sbatch", "--parsable", "-o", "/dev/null", "--chdir=/tmp", *options, "--wrap", script)
        return said.strip().split(";")[0]

    def state(self, job: str) -> str:
        """Slurm's word for a job's state; empty for one that is not in the queue any more."""
        return self.run("squeue", "-h", "--states=all", "-j", job, "-o", "%T", check=False).strip().split("\n")[0]

    def wait(self, job: str, *states: str, timeout_s: float = 60) -> None:
        """Until a job is in one of the states."""
        self.until(lambda: self.state(job) in states, f"job {job} {'/'.join(states)}, is {self.state(job)}", timeout_s)

    def stop_controller(self) -> None:
        """As for maintenance."""
        self._end("slurmctld")

    def kill_controller(self) -> None:
        """As a crash."""
        process = self.processes.pop("slurmctld")
        process.kill()
        process.wait(STOP_S)

    def until_saved(self, since: float) -> None:
        """Until what the controller was told at that time is on disk: a crash before forgets it."""
        files = [self.base / "state" / name for name in ("job_state", "node_state")]
        self.until(lambda: all(file.stat().st_mtime > since for file in files), "saved state")

    def start_controller(self) -> None:
        """With the state it has on disk."""
        self._spawn("slurmctld", "slurmctld", "-D")
        self.until(lambda: "UP" in self.run("scontrol", "ping", check=False), "controller")

    def start_rest(self) -> None:
        """slurmrestd on a socket, for tokens of any user."""
        self.rest_socket.parent.mkdir()
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if user is not None:  # it refuses to run as root
            os.chown(self.rest_socket.parent, user.pw_uid, user.pw_gid)
        new = self.version >= (23, 11)
        plugins = ["openapi/slurmctld", "openapi/slurmdbd"] if new else ["openapi/v0.0.38", "openapi/dbv0.0.38"]
        command = ["slurmrestd", "-s", ",".join(plugins[: 1 + self.accounting]), "-a", "rest_auth/jwt"]
        self._spawn("slurmrestd", *command, f"unix:{self.rest_socket}", user=user, environment={"SLURM_JWT": "daemon"})
        self.until(self.rest_socket.exists, "slurmrestd")

    def token(self) -> str:
        """A JWT of the user who runs the tests."""
        return self.run("scontrol", "token", "lifespan=3600").strip().partition("=")[2]

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.run("slurmctld", "-V").split()[1].split(".")[:2])

    def logs(self) -> str:
        """The ends of what the daemons said."""
        said = sorted((self.base / "log").glob("*.out"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in said)

    # -- its making ----------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        for folder in ("munge", "state", "spool", "log", "dev", "commands"):
            (self.base / folder).mkdir()
        self.base.chmod(0o755)
        (self.base / "munge").chmod(0o755)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "SQUEUE", "SINFO"))}
        self.environment = {**clean, "SLURM_CONF": str(self.conf), "PATH": SYSTEM_PATH}
        if self.root is not None:
            self._hold_tree(self.root)
        for name in COMMANDS:
            wrapper = self.commands / name
            wrapper.write_text(f'#!/bin/sh\nPATH={SYSTEM_PATH}\nexec {" ".join(self._inside([name]))} "$@"\n')
            wrapper.chmod(0o755)
        self._configure()
        key = self.base / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        at = self.base / "munge"
        files = [f"--{name}={at}/{file}" for name, file in _MUNGE_FILES.items()]
        self._spawn("munged", "munged", "-F", "--force", *files)
        self.until((at / "sock").exists, "munged")
        if self.accounting:
            self._start_accounting()
        self._spawn("slurmctld", "slurmctld", "-D")
        for node in self.nodes:
            (self.base / "spool" / node).mkdir()
            self._spawn(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        idle = len(self.nodes)
        self.until(
            lambda: self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split().count("idle") == idle, "nodes"
        )

    def _hold_tree(self, root: Path) -> None:
        """A mount namespace in which the tree has this machine's devices and the cluster's folder; it ends with a child."""
        (root / str(self.base).lstrip("/")).mkdir(parents=True, exist_ok=True)
        shutil.copy("/etc/hosts", root / "etc/hosts")
        binds = [*(f"mount --rbind {d} {root}{d}" for d in ("/proc", "/sys", "/dev"))]
        binds.append(f"mount --bind {self.base} {root}{self.base}")
        script = " && ".join([*binds, f"touch {self.base}/mounted", "exec sleep infinity"])
        holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
        self.processes["tree"] = holder
        self.until((self.base / "mounted").exists, "mounts")

    def _inside(self, command: Sequence[str]) -> list[str]:
        if self.root is None:
            return list(command)
        return ["nsenter", "-m", "-t", str(self.processes["tree"].pid), "chroot", str(self.root), *command]

    def _configure(self) -> None:
        controller, self._database, *ports = free_ports(len(self.nodes) + 2)
        me = pwd.getpwuid(os.geteuid()).pw_name
        text = CONF.format(name=self.name, controller=controller, me=me, base=self.base, min_job_age=self.min_job_age)
        if self.jobcomp:
            text += f"JobCompType=jobcomp/filetxt\nJobCompLoc={self.jobcomp_file}\n"
        if self.accounting:
            text += (
                f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=localhost\n"
                f"AccountingStoragePort={self._database}\nAccountingStoragePass={self.base}/munge/sock\n"
                "AccountingStorageTRES=gres/gpu\n"
            )
        gres = "AutoDetect=off\n"
        for index in range(self.gpus):  # a link to a device is enough; a plain file is not
            (self.base / "dev" / f"nvidia{index}").symlink_to("/dev/null")
        for node, port in zip(self.nodes, ports, strict=True):
            text += (
                f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=64000 "
                f"Gres=gpu:a100:{self.gpus} State=UNKNOWN\n"
            )
            gres += f"NodeName={node} Name=gpu Type=a100 File={self.base}/dev/nvidia[0-{self.gpus - 1}]\n"
        text += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        self.conf.write_text(text)
        (self.base / "gres.conf").write_text(gres)
        (self.base / "cgroup.conf").write_text("CgroupPlugin=disabled\n" if self.version >= (23, 2) else "")
        key = self.base / "jwt.key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o600)

    def _start_accounting(self) -> None:
        at = self.base / "mysql"
        for folder in (at, at / "data", at / "tmp"):
            folder.mkdir()
            if os.geteuid() == 0:
                shutil.chown(folder, "nobody")
        own = ["mariadbd", "--no-defaults", f"--datadir={at}/data", f"--tmpdir={at}/tmp", "--user=nobody", *_SMALL]
        tables = "".join(Path("/usr/share/mysql", name).read_text() for name in _TABLES)
        subprocess.run(
            [*own, "--bootstrap"], input=f"create database mysql;\nuse mysql;\n{tables}", text=True, check=True,
            env=self.environment, capture_output=True, timeout=READY_S,
        )  # fmt: skip
        server = ["--skip-networking", f"--socket={at}/sock", f"--pid-file={at}/pid", "--skip-grant-tables"]
        self._spawn("mariadbd", *own, *server, outside=True)
        self.until((at / "sock").exists, "MariaDB")
        conf = self.base / "slurmdbd.conf"
        conf.write_text(
            f"AuthType=auth/munge\nAuthInfo=socket={self.base}/munge/sock\nDbdHost=localhost\nDbdPort={self._database}\n"
            f"AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={self.base}/jwt.key\n"
            f"SlurmUser={pwd.getpwuid(os.geteuid()).pw_name}\nStorageType=accounting_storage/mysql\n"
            "StorageHost=localhost\nStorageUser=root\nStorageLoc=slurm_acct\n"
            f"LogFile={self.base}/log/slurmdbd.out\nPidFile={self.base}/slurmdbd.pid\n"
        )
        conf.chmod(0o600)
        # The client library of a "localhost" takes the socket that this says.
        self._spawn("slurmdbd", "slurmdbd", "-D", environment={"MYSQL_UNIX_PORT": f"{at}/sock"})
        self.until(listens(self._database), "slurmdbd")
        self.run("sacctmgr", "-i", "add", "cluster", self.name, check=False)

    def _spawn(
        self,
        name: str,
        *command: str,
        user: pwd.struct_passwd | None = None,
        environment: Mapping[str, str] | None = None,
        outside: bool = False,
    ) -> None:
        whole = list(command) if outside else self._inside(command)
        if user is not None:
            whole = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]
            whole = whole if self.root is None else self._inside(whole)
        with (self.base / "log" / f"{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                whole,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, **(environment or {})},
                cwd=self.base,
                start_new_session=True,
            )

    def until(self, true: Callable[[], bool], what: str, timeout_s: float = READY_S) -> None:
        end = time.monotonic() + timeout_s
        while not true():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                raise AssertionError(f"{what}: not within {timeout_s:g} s, ended: {dead}\n{self.logs()}")
            time.sleep(0.05)

    def _end(self, name: str) -> None:
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)

    def stop(self) -> None:
        """Cancel what runs, then end the daemons, those that others need last."""
        controller = self.processes.get("slurmctld")
        if controller is not None and controller.poll() is None:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.run("scancel", "--user", pwd.getpwuid(os.geteuid()).pw_name, check=False)
                end = time.monotonic() + STOP_S
                while self.run("squeue", "-h", "-t", "R,CG,S", check=False).strip() and time.monotonic() < end:
                    time.sleep(0.1)
        last = ("slurmctld", "slurmdbd", "mariadbd", "munged", "tree")
        for name in sorted(self.processes, key=lambda name: last.index(name) if name in last else -1):
            self._end(name)
        if self.root is not None:
            with contextlib.suppress(OSError):
                (self.root / str(self.base).lstrip("/")).rmdir()


_MUNGE_FILES = {"socket": "sock", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
_TABLES = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
_SMALL = (
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-lock-wait-timeout=900",
    "--performance-schema=OFF",
)
