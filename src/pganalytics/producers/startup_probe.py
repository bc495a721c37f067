"""Why a connection could not be made. libpq gives only a text, in the server's language; this asks again and reads the code.

Runs after a failed attempt only. It opens a socket, looks at the server's certificate if libpq had to, sends a startup packet
with options, which poolers may refuse, and reads the first answers, never a password.
"""

import socket
import ssl
import struct
from dataclasses import dataclass

from pganalytics.runtime.postgres import ENCRYPTING, VERIFYING

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
MOST_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Trust:
    """What libpq is told: its sslmode and sslrootcert."""

    sslmode: str
    authorities: str | None


class _NoTls(Exception):
    """The server offers none, and it is wanted."""


class _NotTrusted(Exception):
    """The server's certificate is not accepted, or what it is compared with cannot be read."""


def probe(host: str, port: int, *, user: str, dbname: str, timeout_s: float, trust: Trust) -> str:
    """What stands between us and a session: refused, dns, unreachable, timeout, no_tls, certificate, authentication or
    sqlstate:XXXXX.

    Empty when the server lets us in so far.
    """
    try:
        with _connect(host, port, timeout_s) as raw, _maybe_tls(raw, host, trust) as link:
            return _start(link, user, dbname)
    except _NoTls:
        return "no_tls"
    except _NotTrusted:
        return "certificate"
    except ConnectionRefusedError:
        return "refused"
    except socket.gaierror:
        return "dns"
    except TimeoutError:
        return "timeout"
    except (OSError, struct.error):
        return "unreachable"


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout_s)
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(timeout_s)
    link.connect(f"{host}/.s.PGSQL.{port}")
    return link


def _maybe_tls(raw: socket.socket, host: str, trust: Trust) -> socket.socket:
    """TLS where the server offers it."""
    if trust.sslmode in ("disable", "allow") or host.startswith("/"):
        return raw
    raw.sendall(struct.pack("!ii", 8, SSL_REQUEST))
    if (answer := raw.recv(1)) != b"S":
        if answer == b"N" and trust.sslmode in ENCRYPTING:
            raise _NoTls
        return raw
    context = _context(trust)
    try:
        return context.wrap_socket(raw, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise _NotTrusted from error


def _context(trust: Trust) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = trust.sslmode == "verify-full"
    verifies = trust.sslmode in VERIFYING or (trust.sslmode == "require" and trust.authorities is not None)  # as libpq does
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if trust.authorities == "system":
        context.set_default_verify_paths()
    elif trust.authorities is not None:
        try:
            context.load_verify_locations(trust.authorities)
        except OSError as error:
            raise _NotTrusted from error
    return context


def _start(link: socket.socket, user: str, dbname: str) -> str:
    said = {"user": user, "database": dbname, "application_name": "pganalytics", "options": "-c search_path=pg_catalog"}
    body = struct.pack("!i", PROTOCOL_3) + b"".join(part.encode() + b"\0" for pair in said.items() for part in pair)
    body += b"\0"
    link.sendall(struct.pack("!i", len(body) + 4) + body)
    answer = b""
    while len(answer) < MOST_BYTES:
        received = link.recv(4096)
        if not received:
            return "unreachable"
        answer += received
        if (kind := read_answer(answer)) is not None:
            return kind
    return "unreachable"


def read_answer(answer: bytes) -> str | None:
    """The meaning of the first whole messages; None while more is needed. Asking for a password means: it was refused before."""
    at = 0
    while len(answer) >= at + 5:
        kind, length = answer[at : at + 1], struct.unpack_from("!i", answer, at + 1)[0]
        if length < 4 or len(answer) < at + 1 + length:
            return None
        body = answer[at + 5 : at + 1 + length]
        if kind == b"E":
            codes = [field[1:].decode("ascii", "replace") for field in body.split(b"\0") if field[:1] == b"C"]
            return _of_state(codes[0] if codes else "XX000")
        if kind == b"R" and body[:4] != b"\0\0\0\0":
            return "authentication"
        if kind == b"Z":
            return ""
        at += 1 + length
    return None


def _of_state(sqlstate: str) -> str:
    return "authentication" if sqlstate.startswith("28") else f"sqlstate:{sqlstate}"
