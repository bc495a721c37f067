"""Certificates of an authority of our own, and a server that shows them. For tests."""

import os
from pathlib import Path

import psycopg
import trustme

from pganalytics.embedded.postgres import PostgresServer


def encrypt(server: PostgresServer, authority: trustme.CA, *names: str) -> None:
    """Let the server offer TLS, with a certificate for these names and addresses from the next connection on."""
    certificate = authority.issue_cert(*names)
    owner = server.data.stat()
    for file, text in (
        ("server.key", certificate.private_key_pem.bytes()),
        ("server.crt", b"".join(pem.bytes() for pem in certificate.cert_chain_pems)),
    ):
        path = server.data / file
        path.write_bytes(text)
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("alter system set ssl = on")
    server.restart()


def certificate_file(authority: trustme.CA, folder: Path, name: str = "authority.pem") -> Path:
    """What `sslrootcert` names."""
    path = folder / name
    authority.cert_pem.write_to_path(str(path))
    return path
