"""Durations and addresses as people write them."""

from __future__ import annotations

import pytest

from fallow.units import duration_ns, duration_text, host_port


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("15s", 15_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("-5m", -300_000_000_000),
        ("0", 0),
        ("2d", 172_800_000_000_000),
    ],
)
def test_a_duration_is_read(text: str, ns: int) -> None:
    assert duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "5", "s", "5 parsecs", "1h30", "5s5", "--5s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_ns(text)


@pytest.mark.parametrize("text", ["1h30m", "15s", "2d", "0s", "-5m"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert duration_text(duration_ns(text)) == text


@pytest.mark.parametrize(
    ("text", "pair"), [("127.0.0.1:4317", ("127.0.0.1", 4317)), ("[::1]:0", ("::1", 0)), ("h:65535", ("h", 65535))]
)
def test_an_address_is_split(text: str, pair: tuple[str, int]) -> None:
    assert host_port(text) == pair


@pytest.mark.parametrize("text", ["localhost", ":4317", "h:", "h:65536", "h:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        host_port(text)
