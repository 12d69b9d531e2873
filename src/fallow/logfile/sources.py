"""The sources document: which files are of which source, and how their lines are read."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fallow.document import Document, parse, read_text, validated
from fallow.errors import DocumentError, Problem, WrongStamp
from fallow.logfile.formats import Format, pattern_format
from fallow.units import DurationNs


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timestamp(_Doc):
    """Where stamps stand and how they are written."""

    regex: str = Field(description="RE2 pattern with one group: the stamp.")
    format: str = Field(description="A layout as Go writes them, or rfc3339, unix, epochany and the like.")


class LocationDoc(_Doc):
    """Where files of a source may be."""

    path: str = Field(description="Files; * ? [] and ** stand for parts of names. Relative to this document.")
    type: Literal["log"] = Field(default="log", description="What the files are.")
    window: DurationNs | None = Field(default=None, description="As for the source; wins over it.")
    timestamp: Timestamp | None = Field(default=None, description="As for the source; wins over it.")


class SourceDoc(_Doc):
    """What a rule's ``event.source`` stands for."""

    type: str = Field(min_length=1, description="The event.source of rules.")
    name: str = Field(default="", description="For people.")
    desc: str = Field(default="", description="For people.")
    window: DurationNs = Field(default=0, description="How far lines may come out of order and are put in order.")
    timestamp: Timestamp | None = Field(default=None, description="Left out: told from the start of each file.")
    locations: tuple[LocationDoc, ...] = Field(default=(), description="The first at which there are files counts.")


class SourcesDoc(_Doc):
    """The whole document."""

    version: str | int | float = Field(default="", description="For people.")
    sources: tuple[SourceDoc, ...] = Field(description="Of two with one type the first counts.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files that one kind of program wrote."""

    type: str
    """What rules call it; "": all rules see it."""
    files: tuple[Path, ...]
    window: int = 0
    """ns."""
    format: Format | None = None
    """None: told from the start of each file."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a document that have files, and what was left out of it."""

    found: tuple[Source, ...]
    left_out: tuple[Problem, ...]


def load_sources(path: Path, now: int) -> Sources:
    """The sources of a document, with the files that there are.

    Args:
        now: Unix ns; decides the year where stamps have none.

    Raises:
        DocumentError: with every problem of the document, at its place.
    """
    document = parse(read_text(path), str(path))
    doc = validated(SourcesDoc, document)
    formats = _formats(document, doc, now)
    found: dict[str, Source] = {}
    left_out: list[Problem] = []
    for i, source in enumerate(doc.sources):
        at = ("sources", i, "type")
        if source.type in found:
            left_out.append(document.problem(at, f"a second source of type {source.type!r}: left out"))
            continue
        made = _located(path.parent, i, source, formats)
        if made is None:
            looked = ", ".join(location.path for location in source.locations) or "nowhere"
            left_out.append(document.problem(at, f"{source.type!r} has no files; looked at {looked}"))
        else:
            found[source.type] = made
    return Sources(tuple(found.values()), tuple(left_out))


_Key = tuple[int, int | None]


def _formats(document: Document, doc: SourcesDoc, now: int) -> Mapping[_Key, Format]:
    """The formats that the document spells out, by source and location (None: the source's own)."""
    found: dict[_Key, Format] = {}
    problems: list[Problem] = []
    for i, source in enumerate(doc.sources):
        stamps: list[tuple[int | None, Timestamp | None]] = [(None, source.timestamp)]
        stamps += [(k, location.timestamp) for k, location in enumerate(source.locations)]
        for k, stamp in stamps:
            if stamp is None:
                continue
            at = ("sources", i, *(() if k is None else ("locations", k)), "timestamp")
            try:
                found[i, k] = pattern_format(stamp.regex, stamp.format, now)
            except WrongStamp as error:
                problems.append(document.problem((*at, "regex" if stamp.format else "format"), str(error)))
    if problems:
        raise DocumentError(problems)
    return found


def _located(folder: Path, i: int, source: SourceDoc, formats: Mapping[_Key, Format]) -> Source | None:
    for k, location in enumerate(source.locations):
        paths = sorted(glob.glob(str(folder / location.path), recursive=True))
        files = tuple(path for path in map(Path, paths) if path.is_file())
        if files:
            return Source(
                type=source.type,
                files=files,
                window=source.window if location.window is None else location.window,
                format=formats.get((i, k), formats.get((i, None))),
            )
    return None
