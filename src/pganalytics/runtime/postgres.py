"""How settings become connection strings. Passwords are read at each connect, so a rotated one is picked up."""

import subprocess

from psycopg.conninfo import make_conninfo

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Server

COMMAND_TIMEOUT_S = 10


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
    given = {"password": read_password(server), "sslrootcert": str(server.sslrootcert) if server.sslrootcert else None}
    parameters: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    return make_conninfo(
        host=server.host,
        port=server.port,
        dbname=dbname or server.dbname,
        user=server.user,
        sslmode=server.sslmode,
        **{**parameters, **extra},  # type: ignore[arg-type]  # make_conninfo's first parameter is positional text
    )


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise SettingsError(f"password_command {command[0]}: {error}") from error
    if done.returncode:
        raise SettingsError(f"password_command {command[0]}: exit code {done.returncode}")
    return done.stdout.split("\n")[0].rstrip("\r")
