"""How settings become connection strings. Passwords are read at each connect, so a rotated one is picked up.

Across a network a server must prove by its certificate that it is the one that the settings name, unless the settings say
otherwise. Whether there is a network is told by the address alone; nobody is asked what a name means.
"""

import ipaddress
import ssl
import subprocess
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Server

COMMAND_TIMEOUT_S = 10
SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # RHEL, Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
LIBPQ_FINDS_AUTHORITIES = 160000
VERIFYING = ("verify-ca", "verify-full")
ENCRYPTING = ("require", *VERIFYING)


def is_local(host: str) -> bool:
    """Whether an address leads to this machine without a network: a folder of Unix sockets, or the loopback interface."""
    if host.startswith("/") or host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def sslmode_of(server: Server) -> str:
    """The setting; where there is none, verify-full across a network and prefer on this machine."""
    return server.sslmode or ("prefer" if is_local(server.host) else "verify-full")


def authorities_of(server: Server) -> str | None:
    """Whom libpq trusts (its sslrootcert): the file of the settings, or the system's when certificates are verified.

    The system's are looked for here: a libpq that is shipped in a package, as psycopg's is, looks where its builder kept them.
    """
    if server.sslrootcert is not None:
        return str(server.sslrootcert)
    mode = sslmode_of(server)
    if mode not in VERIFYING:
        return None
    named = ssl.get_default_verify_paths().cafile
    found = next((path for path in (named, *SYSTEM_AUTHORITIES) if path and Path(path).is_file()), None)
    libpq_may = mode == "verify-full" and pq.version() >= LIBPQ_FINDS_AUTHORITIES
    return found or ("system" if libpq_may else None)


def read_password(server: Server) -> str | None:
    """The password of a server, None when none is set; raises SettingsError that names the file or command."""
    if server.password is not None:
        return server.password.get_secret_value()
    if server.password_file is not None:
        try:
            return server.password_file.read_text(encoding="utf-8").split("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"password_file {server.password_file}: cannot be read: {error}") from error
    if server.password_command is not None:
        return _run(server.password_command)
    return None


def conninfo(server: Server, *, dbname: str | None = None, **extra: str | int) -> str:
    """A libpq connection string, with the password and any `extra` parameters; raises SettingsError."""
    given = {"password": read_password(server), "sslrootcert": authorities_of(server)}
    parameters: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    return make_conninfo(
        host=server.host,
        port=server.port,
        dbname=dbname or server.dbname,
        user=server.user,
        sslmode=sslmode_of(server),
        **{**parameters, **extra},  # type: ignore[arg-type]  # make_conninfo's first parameter is positional text
    )


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:  # its text has all words of the command
        raise SettingsError(f"password_command {command[0]}: it did not end within {COMMAND_TIMEOUT_S} s") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"password_command {command[0]}: {error}") from error
    if done.returncode:
        raise SettingsError(f"password_command {command[0]}: exit code {done.returncode}")
    return done.stdout.split("\n")[0].rstrip("\r")
