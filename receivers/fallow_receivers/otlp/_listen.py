"""Addresses and certificates, checked before a server is built on them, so that what is wrong reads well."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from fallow.units import host_port
from fallow_receivers.otlp.config import TlsSettings


def listener(endpoint: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: ``cannot listen on HOST:PORT: …``.
    """
    host, port = host_port(endpoint)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, dualstack_ipv6=both, backlog=2048)
    except OSError as error:
        raise cannot_listen(endpoint, reason(error)) from error


def check_free(endpoint: str) -> None:
    """Raises OSError where one cannot listen there; gRPC's own error does not say why."""
    listener(endpoint).close()


def cannot_listen(endpoint: str, why: str) -> OSError:
    """The error to raise for an address that cannot be had."""
    return OSError(f"cannot listen on {endpoint}: {why}")


def reason(error: OSError) -> str:
    """What the system says, without its numbers and without the address that ``asyncio`` adds to it."""
    text = (error.strerror or str(error)).partition(" (while attempting")[0]
    return text[:1].lower() + text[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The PEM files of a server, where they are and what is in them."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None
    cert: bytes
    key: bytes
    client_ca: bytes | None


def certificates(tls: TlsSettings, directory: Path) -> Certificates:
    """Read and checked.

    Raises:
        OSError: a file cannot be read, is no PEM, or the key is not the certificate's; the message names the file.
    """
    cert, key = directory / tls.cert_file, directory / tls.key_file
    ca = None if tls.client_ca_file is None else directory / tls.client_ca_file
    try:
        found = Certificates(
            cert_file=cert,
            key_file=key,
            client_ca_file=ca,
            cert=cert.read_bytes(),
            key=key.read_bytes(),
            client_ca=None if ca is None else ca.read_bytes(),
        )
    except OSError as error:
        raise OSError(f"cannot use {error.filename} for TLS: {reason(error)}") from error
    context, file = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert
    try:
        context.load_cert_chain(cert, key)
        if ca is not None:
            file = ca
            context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise OSError(f"cannot use {file} for TLS: {reason(error)}") from error
    return found
