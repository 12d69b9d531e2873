"""What runs in BCC's child: compile each source, send its descriptors, end without BCC's own cleaning up.

A program by itself that imports nothing of Fallow: it is started many times faster so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any


def load_bcc(folder: Path) -> Any:
    """The module, without the rest of the system's packages beside it."""
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    spec.loader.exec_module(module)
    return module


def build(bcc: Any, source: dict[str, Any]) -> tuple[list[int], Any]:
    """Descriptors of the programs, then of the maps; and what must live until they are sent."""
    built = bcc.BPF(text=source["text"], cflags=["-w"])
    programs = [
        built.load_func(name.encode(), kind, attach_type=attach).fd
        for name, (kind, attach) in source["programs"].items()
    ]
    return [*programs, *(built[name.encode()].map_fd for name in source["maps"])], built


def main() -> None:
    order = json.loads(sys.stdin.buffer.read())
    bcc = load_bcc(Path(order["module"]))
    kept: list[Any] = []
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        for name, source in order["sources"].items():
            word: dict[str, Any] = {"name": name}
            fds: list[int] = []
            try:
                fds, built = build(bcc, source)
                kept.append(built)
                word |= {"programs": list(source["programs"]), "maps": source["maps"]}
            except Exception as error:  # noqa: BLE001  # BCC raises nothing narrower
                permission = "super-user" in str(error) or "not permitted" in str(error)
                word |= {"error": str(error)[:2000], "permission": permission}
            socket.send_fds(parent, [json.dumps(word).encode()], fds)
        parent.recv(1)  # until they have arrived
    os._exit(0)  # BCC would detach what it attached at a normal exit


if __name__ == "__main__":
    main()
