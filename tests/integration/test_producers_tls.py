"""A server must prove who it is: by a certificate for its name, from an authority that is trusted."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import trustme

from integration.producers_feed import Asker, Watched, watched
from integration.tls import certificate_file, encrypt
from pganalytics.embedded.binaries import fetch_postgres
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import Answer
from pganalytics.producers.results import Failed
from pganalytics.runtime.settings import Server
from pganalytics.sink.connection import StoreConnection, explain


@dataclass(frozen=True)
class Encrypted:
    """A server whose certificate names 127.0.0.1, and the file of its authority."""

    target: Watched
    authority: Path


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    with PostgresServer.start(folder / "server", binaries=fetch_postgres(17)) as server:
        encrypt(server, authority, "127.0.0.1")
        yield Encrypted(watched(server, folder), certificate_file(authority, folder))


def ask(one: Encrypted, **more: object) -> tuple[Answer | Failed, str]:
    """The heartbeat's reading, and what its cure says."""
    asker = Asker(one.target.target("one", **more))
    outcome = asker.ask("heartbeat")
    asker.pools.close()
    assert isinstance(outcome, Answer | Failed), outcome
    return outcome, outcome.cure if isinstance(outcome, Failed) else ""


def test_the_right_name_from_a_trusted_authority_is_read(encrypted: Encrypted) -> None:
    outcome, _ = ask(encrypted, sslmode="verify-full", sslrootcert=encrypted.authority)
    assert isinstance(outcome, Answer)


def test_a_wrong_name_is_refused_and_the_cure_names_the_host(encrypted: Encrypted) -> None:
    """`localhost` leads to the server, and its certificate does not say so."""
    outcome, cure = ask(encrypted, host="localhost", sslmode="verify-full", sslrootcert=encrypted.authority)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == ("certificate", True)
    assert re.search("name localhost .*sslrootcert.*sslmode", cure)
    outcome, _ = ask(encrypted, host="localhost", sslmode="verify-ca", sslrootcert=encrypted.authority)
    assert isinstance(outcome, Answer)


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full", "require"])
def test_an_unknown_authority_is_refused(encrypted: Encrypted, tmp_path: Path, sslmode: str) -> None:
    """libpq's `require` looks at the authority too, when a file is named."""
    other = certificate_file(trustme.CA(), tmp_path)
    outcome, _ = ask(encrypted, sslmode=sslmode, sslrootcert=other)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "certificate"


def test_the_system_s_authorities_do_not_know_ours(encrypted: Encrypted) -> None:
    """Without sslrootcert the system's are trusted, and nobody else."""
    outcome, _ = ask(encrypted, sslmode="verify-full")
    assert isinstance(outcome, Failed)
    assert outcome.kind == "certificate"


def test_the_system_s_authorities_are_found(encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(encrypted.authority))
    outcome, _ = ask(encrypted, sslmode="verify-full")
    assert isinstance(outcome, Answer)


def test_a_file_of_authorities_that_is_not_there_is_a_matter_of_certificates(encrypted: Encrypted, tmp_path: Path) -> None:
    outcome, _ = ask(encrypted, sslmode="verify-full", sslrootcert=tmp_path / "absent.pem")
    assert isinstance(outcome, Failed)
    assert outcome.kind == "certificate"
    assert "absent.pem" in outcome.reason


def test_a_server_without_tls_is_named_as_such(one: Watched) -> None:
    """Its cure is another one; the servers of the run have ssl off."""
    outcome, cure = ask(Encrypted(one, Path()), sslmode="verify-full")
    assert isinstance(outcome, Failed)
    assert outcome.kind == "no_tls"
    assert "set ssl = on at 127.0.0.1" in cure


def test_control_without_verification_anybody_is_believed(encrypted: Encrypted, tmp_path: Path) -> None:
    for sslmode in ("prefer", "require"):
        outcome, _ = ask(encrypted, host="localhost", sslmode=sslmode)
        assert isinstance(outcome, Answer), sslmode


def test_the_store_must_prove_who_it_is_too(encrypted: Encrypted) -> None:
    watched_server = encrypted.target.server
    words = {
        "host": watched_server.host,
        "port": watched_server.port,
        "user": watched_server.user,
        "password_file": watched_server.password_file,
        "sslmode": "verify-full",
    }
    StoreConnection.open(Server.model_validate({**words, "sslrootcert": encrypted.authority}), name="test").close()
    wrong = Server.model_validate({**words, "host": "localhost", "sslrootcert": encrypted.authority})
    with pytest.raises(psycopg.OperationalError) as caught:
        StoreConnection.open(wrong, name="test")
    assert "store.sslrootcert" in explain(wrong, caught.value)
