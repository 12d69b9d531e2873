"""Reading log files: how bytes are cut never matters, and many stamps at once are read as each by itself."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.errors import WrongStamp
from fallow.logfile import Clock, Format, LogReader, Records, Reorder, detect_format, merged, parser, pattern_format
from fallow.logfile.columns import beginning_reader, reader
from fallow.logfile.table import PUBLISHED, TABLE, Pair

NOW = 1_774_915_200_000_000_000

FIRST = {
    "rfc3339Nano": b"2026-01-01T00:00:00Z first\n",
    "regex": b"2026-01-01 00:00:00,5 first\n",
    "syslog": b"Jan  1 00:00:00 host first\n",
    "cri": b"2026-01-01T00:00:00Z stdout F first\n",
    "json": b'{"log":"first\\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}\n',
}
LINE = st.one_of(
    st.sampled_from(
        [
            b"",
            b"\r",
            b"\xff\xfe not text",
            b"2026-01-01T00:00:01.25Z second",
            b"2026-01-01T25:00:01Z no such hour",
            b"2026-01-01T00:00:01Z\tno blank",
            b"2026-01-01 00:00:02,250 third \xff",
            b"2026-02-30 00:00:02 no such day",
            b"2026-01-01T00:00:03Z stderr P fourth",
            b"Jan  1 00:00:01 host second",
            b"JAN 1 0:00:01 host third",
            b'{"log":"fi\\u00e9fth","stream":"stderr","time":"2026-01-01T00:00:04.5Z"}',
            b'{"log":"fifth","stream":"stderr","time":"2026-01-01T00:00:04.5Z"}',
            "ünïcode".encode(),
        ]
    ),
    st.binary(max_size=12),
)


def events(blocks: list[bytes], format: Format) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for records in LogReader(blocks, format):
        found += [(time, text.decode()) for time, text in zip(records.time.tolist(), records.texts(), strict=True)]
    return found


def one_by_one(data: bytes, format: Format) -> list[tuple[int, str]]:
    """Folding as it is defined, a line at a time."""
    found: list[tuple[int, bytes]] = []
    lines = data.split(b"\n")
    for line in (line.removesuffix(b"\r") for line in (lines if lines[-1] else lines[:-1])):
        try:
            found.append(format.read(line))
        except WrongStamp:
            if found and format.folds and _is_text(line):
                found[-1] = (found[-1][0], found[-1][1] + line)
    return [(time, text.decode(errors="replace")) for time, text in found]


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(deadline=None)
@given(
    kind=st.sampled_from(sorted(FIRST)),
    lines=st.lists(LINE, max_size=12),
    ended=st.booleans(),
    cuts=st.lists(st.integers(0, 600), max_size=8),
)
def test_how_a_file_is_cut_into_blocks_does_not_matter(
    kind: str, lines: list[bytes], ended: bool, cuts: list[int]
) -> None:
    data = FIRST[kind] + b"\n".join(lines) + (b"\n" if ended else b"")
    format = detect_format(FIRST[kind], NOW)
    assert format.kind == ("regex" if kind == "syslog" else kind)
    blocks = [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]
    assert events(blocks, format) == events([data], format) == one_by_one(data, format)


LAYOUTS = sorted(
    {pair.layout for pair in TABLE + PUBLISHED} | {"rfc3339", "epochseconds", "2006-01-02T15:04:05.000Z07:00"}
)
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat())
STAMP = st.one_of(
    st.from_regex(r"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]([.,][0-9]{0,11})?"
                  r"(Z|z| ?[+-][0-2][0-9]:?[0-6][0-9])?", fullmatch=True),
    st.from_regex(r"(Jan|FEB|mar|Dez|Dec) [ 0-3]?[0-9] [0-2]?[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?", fullmatch=True),
    st.from_regex(r"[01][0-9]/[0-3][0-9]/20[0-9]{2},? [0-2][0-9]:[0-5][0-9]:[0-5][0-9]( [AP]M)?", fullmatch=True),
    st.from_regex(r"[01][0-9][0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{5,7}", fullmatch=True),
    st.from_regex(r"[+-]?[0-9]{1,20}(\.[0-9]{0,12})?", fullmatch=True),
    st.text(max_size=8),
    MOMENTS,
)  # fmt: skip


@settings(deadline=None)
@given(layout=st.sampled_from(LAYOUTS), texts=st.lists(STAMP, min_size=1, max_size=8))
def test_stamps_read_at_once_are_those_read_one_by_one(layout: str, texts: list[str]) -> None:
    at_once = reader(layout, NOW)
    if at_once is None:
        return
    stamps = [text.encode(errors="replace") for text in texts]
    ends = np.array(list(accumulate(len(stamp) + 1 for stamp in stamps))) - 1
    starts = np.array([end - len(stamp) for end, stamp in zip(ends, stamps, strict=True)])
    times, ok = at_once(np.frombuffer(b"\n".join(stamps) + b"\n", dtype=np.uint8), starts, ends)
    parse = parser(layout, NOW)
    for text, time, taken in zip(texts, times.tolist(), ok.tolist(), strict=True):
        if taken:
            assert parse(text) == time


PLAIN = [pair for pair in TABLE + PUBLISHED if pair.plain]


@settings(deadline=None)
@given(pair=st.sampled_from(PLAIN), stamp=STAMP, rest=st.text(max_size=5))
def test_a_pattern_that_need_not_be_asked_says_the_same(pair: Pair, stamp: str, rest: str) -> None:
    line = (stamp + rest).encode(errors="replace").replace(b"\n", b" ")
    buffer = np.frombuffer(line + b"\n", dtype=np.uint8)
    times, ok = beginning_reader(pair.layout, NOW)(buffer, np.array([0]), np.array([len(line)]))
    if ok[0]:
        assert pattern_format(pair.pattern, pair.layout, NOW).read(line) == (times[0], line)


@settings(deadline=None)
@given(times=st.lists(st.integers(0, 60), max_size=30), window=st.integers(1, 20))
def test_what_is_late_by_less_than_the_window_is_put_in_order(times: list[int], window: int) -> None:
    buffer: Reorder[int] = Reorder(window)
    out = [released for i, time in enumerate(times) for released in buffer.add(time, 0, i)] + list(buffer.flush())
    assert [time for time, _ in out] == sorted(time for time, _ in out)
    assert len(out) + buffer.late == len(times)
    newest = list(accumulate(times, max))
    assert {i for i, time in enumerate(times) if time >= newest[i] - window} <= {i for _, i in out}
    assert all(a < b for (one, a), (other, b) in pairwise(out) if one == other)


@settings(deadline=None)
@given(streams=st.lists(st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=4), max_size=3))
def test_sources_are_merged_in_order_of_time(streams: list[list[list[int]]]) -> None:
    whole = [sorted(time for block in stream for time in block) for stream in streams]
    sources: list[list[Records]] = []
    for stream, times in zip(streams, whole, strict=True):
        ends = list(accumulate(map(len, stream)))
        cut = [times[end - len(block) : end] for block, end in zip(stream, ends, strict=True)]
        sources.append([Records.of(part, [b""] * len(part)) for part in cut])
    out = [time for _, records in merged(sources) for time in records.time.tolist()]
    assert out == sorted(time for times in whole for time in times)


@settings(deadline=None)
@given(blocks=st.lists(st.lists(st.integers(0, 20), max_size=6), max_size=5))
def test_what_is_older_than_the_clock_is_told_apart_and_counted(blocks: list[list[int]]) -> None:
    clock = Clock()
    late = 0
    newest = -1
    for times in blocks:
        parts = [part.time.tolist() for part in clock.split(Records.of(times, [b"x"] * len(times)))]
        expected: list[int] = []
        for time in times:
            if time >= newest:
                expected.append(time)
            else:
                late += 1
            newest = max(newest, time)
        assert parts[0] == expected
        assert sorted(time for part in parts for time in part) == sorted(times)
    assert clock.late == late


def test_a_pattern_of_the_user_is_re2_and_nothing_else() -> None:
    # Python's engine would take minutes over this pattern; RE2 takes microseconds.
    format = pattern_format(r"^((?:a+)+)b", "2006", NOW)
    assert events([b"a" * 5000 + b"\n"], format) == []
