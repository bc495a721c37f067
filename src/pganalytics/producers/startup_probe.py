"""Why a connection could not be made. libpq gives only a text, in the server's language; this asks again and reads the code.

Runs after a failed attempt only. It opens a socket, sends a startup packet and reads the first answers, never a password.
"""

import socket
import ssl
import struct

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
MOST_BYTES = 8192


def probe(host: str, port: int, *, user: str, dbname: str, timeout_s: float, with_tls: bool) -> str:
    """What stands between us and a session: refused, dns, unreachable, timeout, authentication or sqlstate:XXXXX.

    Empty when the server lets us in so far.
    """
    try:
        with _connect(host, port, timeout_s) as raw, _maybe_tls(raw, host, with_tls=with_tls) as link:
            return _start(link, user, dbname)
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


def _maybe_tls(raw: socket.socket, host: str, *, with_tls: bool) -> socket.socket:
    """TLS where the server offers it. Nothing secret is sent, so the certificate is not looked at."""
    if not with_tls or host.startswith("/"):
        return raw
    raw.sendall(struct.pack("!ii", 8, SSL_REQUEST))
    if raw.recv(1) != b"S":
        return raw
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(raw, server_hostname=host)


def _start(link: socket.socket, user: str, dbname: str) -> str:
    body = struct.pack("!i", PROTOCOL_3) + b"".join(
        part.encode() + b"\0" for part in ("user", user, "database", dbname, "application_name", "pganalytics")
    )
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
