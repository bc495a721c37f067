"""Why a connection could not be made, by code and not by text."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pganalytics.producers.failures import NOT_SHOWN, of_connecting, of_reading
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Failed, Unavailable
from pganalytics.producers.session import DeadlinePassed, Stopping
from pganalytics.producers.startup_probe import Trust, probe, read_answer


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def error(sqlstate: bytes) -> bytes:
    return message(b"E", b"SFATAL\0VFATAL\0C" + sqlstate + b"\0Mwhatever the language\0\0")


READY = message(b"R", struct.pack("!i", 0)) + message(b"S", b"server_version\x0018\0") + message(b"Z", b"I")


@contextmanager
def answering(answer: bytes, *, hang: bool = False) -> Iterator[int]:
    """A server that says `answer` to whatever it hears, and hangs up or hangs."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as link:
                link.recv(1000)
                link.sendall(answer)
                if hang:
                    ended.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        ended.set()
        thread.join(5)


def asked(port: int, host: str = "127.0.0.1", sslmode: str = "disable") -> str:
    return probe(host, port, user="u", dbname="d", timeout_s=0.5, trust=Trust(sslmode, None))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(b"57P03"), "sqlstate:57P03"),
        (error(b"53300"), "sqlstate:53300"),
        (error(b"28000"), "authentication"),
        (message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"), "authentication"),
        (message(b"R", struct.pack("!i", 0)) + error(b"3D000"), "sqlstate:3D000"),
        (READY, ""),
        (b"", "unreachable"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unreachable"),
    ],
)
def test_what_the_server_says_first(answer: bytes, kind: str) -> None:
    with answering(answer) as port:
        assert asked(port) == kind


def test_a_server_that_says_nothing() -> None:
    with answering(b"", hang=True) as port:
        assert asked(port) == "timeout"


def test_nobody_there() -> None:
    with answering(b"") as port:
        asked(port)
    assert asked(port) == "refused"
    assert asked(5432, "nowhere.invalid") == "dns"
    assert asked(5432, "/nowhere/at/all") == "unreachable"


@pytest.mark.parametrize(
    ("sslmode", "kind"), [("prefer", "unreachable"), ("require", "no_tls"), ("verify-ca", "no_tls"), ("verify-full", "no_tls")]
)
def test_a_server_without_tls_where_it_is_wanted(sslmode: str, kind: str) -> None:
    """With `prefer` the probe goes on without, and this server then says nothing more."""
    with answering(b"N") as port:
        assert asked(port, sslmode=sslmode) == kind


def test_half_a_message_is_waited_for() -> None:
    whole = error(b"57P03")
    assert all(read_answer(whole[:size]) is None for size in range(len(whole)))
    assert read_answer(whole) is not None


def test_the_probe_s_finding_is_the_kind_unless_the_driver_knows() -> None:
    assert of_connecting(psycopg.OperationalError("text in any language"), "refused").kind == "refused"
    assert of_connecting(psycopg.errors.TooManyConnections("x"), "refused").kind == "sqlstate:53300"
    assert of_connecting(psycopg.errors.ConnectionTimeout("x"), "").kind == "timeout"
    assert of_connecting(psycopg.OperationalError("x"), "").kind == "unreachable"
    assert of_connecting(psycopg.OperationalError("two\nlines"), "refused").reason == "two lines"


@pytest.mark.parametrize(
    ("cause", "kind", "of_target"),
    [
        (psycopg.errors.QueryCanceled("x"), "sqlstate:57014", False),
        (psycopg.errors.LockNotAvailable("x"), "sqlstate:55P03", False),
        (psycopg.errors.UndefinedColumn("x"), "sqlstate:42703", False),
        (psycopg.errors.AdminShutdown("x"), "sqlstate:57P01", True),
        (psycopg.errors.TooManyConnections("x"), "sqlstate:53300", True),
        (psycopg.OperationalError("server closed the connection"), "lost", True),
        (DeadlinePassed("x"), "hung", True),
        (Stopping("x"), "stopping", False),
    ],
)
def test_a_query_s_failure_is_of_the_metric_or_of_the_target(cause: psycopg.Error, kind: str, *, of_target: bool) -> None:
    outcome = of_reading(cause)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == (kind, of_target)


def test_what_code_in_a_database_says_to_whoever_connects_is_not_shown() -> None:
    refused = psycopg.OperationalError("connection failed: FATAL:  no!\nDETAIL:  s3cret\nHINT:  s3cret")
    raised = psycopg.OperationalError("connection failed: FATAL:  s3cret\nCONTEXT:  PL/pgSQL function f() line 1 at RAISE")
    assert of_connecting(refused, "").reason == "connection failed: FATAL: no!"
    assert of_connecting(raised, "").reason == f"OperationalError: {NOT_SHOWN}"
    assert "s3cret" in of_connecting(raised, "", redaction=Redaction.NONE).reason


@pytest.mark.parametrize("cause", [psycopg.errors.ObjectNotInPrerequisiteState("x"), psycopg.errors.InsufficientPrivilege("x")])
def test_what_only_a_person_can_mend_is_unavailable(cause: psycopg.Error) -> None:
    outcome = of_reading(cause)
    assert isinstance(outcome, Unavailable)
    assert outcome.cure
