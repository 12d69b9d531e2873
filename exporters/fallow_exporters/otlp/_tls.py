"""Certificates of a client, read from the configuration's folder."""

from __future__ import annotations

import ssl
from pathlib import Path

from fallow_exporters.otlp.config import ClientTlsSettings


def read_pem(file: str | None, directory: Path) -> bytes | None:
    """The file's bytes, None for none; raises OSError that names the file."""
    if file is None:
        return None
    path = directory / file
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error


def client_context(tls: ClientTlsSettings, directory: Path) -> ssl.SSLContext:
    """What a connection is secured with; raises OSError that names the file that cannot be used."""
    context = ssl.create_default_context()
    path = directory
    try:
        if tls.ca_file is not None:
            path = directory / tls.ca_file
            context = ssl.create_default_context(cafile=path)
        if tls.cert_file is not None:
            path = directory / tls.cert_file
            context.load_cert_chain(path, None if tls.key_file is None else directory / tls.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise _unusable(path, error) from error
    return context


def _unusable(path: Path, error: OSError) -> OSError:
    return OSError(f"cannot use {path} for TLS: {(error.strerror or str(error)).lower()}")
