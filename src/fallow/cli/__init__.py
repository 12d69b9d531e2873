"""The command line: argument parsing and printing only.

Exit codes: 0 done · 1 it did not work out (a port in use, a backend out of reach, a rule test that fails) ·
2 what was given is wrong (a flag, a file, a configuration).
"""

import os

# gRPC's core writes lines of its own to standard error; read when grpc is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from fallow.cli.app import main  # after the setting above, which is read on import

__all__ = ["main"]
