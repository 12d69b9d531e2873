"""One kind of objects, listed and then watched for ever, in a thread of its own since both block."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from fallow.clients.kubernetes import Change, Expired, Forbidden, KubernetesError, Page, Resource

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
WATCH_S: Final = 300
"""A watch is asked to end after so long, and a little more, so that not all end at once."""

What = Literal["success", "expired", "forbidden", "failure"]


class Source(Protocol):
    """What of an API server a feed needs."""

    def page(self, resource: Resource, rest: str = "") -> Page: ...
    def watch(self, resource: Resource, version: str, seconds: int) -> Iterator[list[tuple[Change | None, Any]]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a feed heard: all objects that there are (changes None), or what changed, up to a version."""

    kind: str
    version: str
    objects: Sequence[Any] = ()
    changes: Sequence[tuple[Change, Any]] | None = None


class Feed:
    """Hands on what it hears, in order.

    Args:
        kind: what it calls itself in what it hands on.
        read: an object of the API → what is handed on of it; None leaves it out.
        hand_on: blocks while nobody takes it, and so the server waits too; False: the end.
        version: to go on from; empty: with a list.
        said: called with the outcome of each list and watch.
    """

    def __init__(
        self,
        source: Source,
        kind: str,
        resource: Resource,
        read: Callable[[Any], Any],
        hand_on: Callable[[Heard], bool],
        *,
        version: str = "",
        said: Callable[[str, What], None] = lambda kind, what: None,
    ) -> None:
        self._source, self._kind, self._resource, self._read = source, kind, resource, read
        self._hand_on, self._version, self._said = hand_on, version, said
        self._pause_s = FIRST_PAUSE_S
        self._stop = threading.Event()
        self._told: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"kubernetes {kind}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Hear no more; what blocks has to be ended by closing the source."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._once()
            except Expired as error:
                # Not told aloud: it is what a server says after a long absence, and a list has all that there is.
                logger.info("The server has forgotten; listing anew.", extra=self._labels(error))
                self._said(self._kind, "expired")
                self._version = ""
            except Forbidden as error:
                # A role may be bound later, by the same kubectl apply or by a person.
                self._complain("forbidden", "This account may not read it; the rest goes on.", error)
                self._wait(None)
            except KubernetesError as error:
                self._complain("failure", "It cannot be read; trying again.", error)
                self._wait(error.retry_after_s)
            except Exception:  # the thread's guard: the next watch may be well
                logger.exception("Reading broke off.", extra={"kind": self._kind})
                self._version = ""
                self._wait(None)

    def _once(self) -> None:
        if not self._version:
            self._list()
        while not self._stop.is_set():
            seconds = WATCH_S + random.randrange(WATCH_S // 5)
            for changes in self._source.watch(self._resource, self._version, seconds):
                self._well()
                if self._stop.is_set() or not self._take(changes):
                    return
            self._well()
            self._stop.wait(0.05)  # a server that ends every watch at once is not hammered

    def _list(self) -> None:
        found: list[Any] = []
        page = self._source.page(self._resource)
        while True:
            found += [one for object in page.items if (one := self._read(object)) is not None]
            if not page.rest or self._stop.is_set():
                break
            page = self._source.page(self._resource, page.rest)
        self._well()
        if self._hand_on(Heard(kind=self._kind, version=page.version, objects=found)):
            self._version = page.version

    def _take(self, changes: Sequence[tuple[Change | None, Any]]) -> bool:
        """Hand changes on; a bookmark is a version and nothing else."""
        kept: list[tuple[Change, Any]] = []
        version = self._version
        for change, object in changes:
            version = str((object.get("metadata") or {}).get("resourceVersion") or version)
            if change is not None and (one := self._read(object)) is not None:
                kept.append((change, one))
        if not self._hand_on(Heard(kind=self._kind, version=version, changes=kept)):
            return False
        self._version = version
        return True

    def _well(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._said(self._kind, "success")
        if self._told is not None:
            self._told = None
            logger.info("It can be read again.", extra=self._labels())

    def _complain(self, what: What, text: str, error: KubernetesError) -> None:
        """Once, until it is over or something else is wrong."""
        self._said(self._kind, what)
        if self._told != what and not self._stop.is_set():
            self._told = what
            logger.warning(text, extra=self._labels(error))

    def _wait(self, asked_s: float | None) -> None:
        self._stop.wait(asked_s if asked_s is not None else self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _labels(self, error: Exception | None = None) -> dict[str, str]:
        return {"resource": str(self._resource), **({"error": str(error)} if error else {})}
