"""A PostgreSQL data folder on disk: made by initdb, configured by one file that is entirely ours.

There is no template that initdb runs once for: copies would share the system identifier, by which tools tell servers
apart, and it would save half a second per server.
"""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from pganalytics.embedded.accounts import Account, reachable_copy, scratch_folder
from pganalytics.embedded.binaries import PostgresBinaries
from pganalytics.embedded.cache import last_lines
from pganalytics.embedded.errors import StartFailed, ToolMissing
from pganalytics.embedded.leash import Child
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.ports import HOST

ENVIRON = {"LC_ALL": "C", "PATH": "", "TZ": "UTC"}
INITDB_TIMEOUT_S = 60.0
SUPERUSER = "postgres"


class Cluster:
    """Data, log and password of one server, and the programs that may touch them.

    `home` is the caller's directory, or, when the OS user of the server cannot reach that, a folder of its own below
    the temporary one, which `remove` deletes. Log and password always lie in the caller's directory.
    """

    def __init__(self, directory: Path, binaries: PostgresBinaries, account: Account, machine: Machine) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.account = account
        self.bin_dir = runnable(binaries, account, machine)
        self.binaries = binaries
        self.log_path = directory / "postgres.log"
        self.password_file = directory / "password"
        self.scratch = None if account.reaches(directory) else scratch_folder(account, "pganalytics-pg-", machine=machine)
        self.home = self.scratch or directory
        self.data = self.home / "data"

    def initialize(self) -> str:
        """Run initdb; returns the superuser's password, which no list of processes ever shows."""
        try:
            self.data.mkdir(mode=0o700)
        except FileExistsError:
            raise StartFailed("initdb", f"{self.data} exists; give every server a directory of its own") from None
        password = secrets.token_urlsafe(24)
        write_private(self.password_file, password + "\n")
        handover = self.home / "initdb-password"
        write_private(handover, password + "\n")
        self.account.give(handover, self.data)
        arguments: list[str | Path] = ["-D", self.data, "-U", SUPERUSER, f"--pwfile={handover}", "-A", "scram-sha-256"]
        child = Child.start(
            [self.bin_dir / "initdb", *arguments, "--locale=C", "-E", "UTF8", "-N"],
            env=ENVIRON,
            cwd=self.home,
            stdout=self.log_path,
            user=self.account.run_as,
            name="initdb",
            remove=self.scratch,
        )
        try:
            if child.wait(INITDB_TIMEOUT_S):
                raise StartFailed("initdb", "it failed", log_lines=last_lines(self.log_path))
        finally:
            handover.unlink()
        return password

    def configure(self, port: int, settings: Mapping[str, str], *, fsync: bool) -> None:
        """Write postgresql.conf anew. `settings` replace ours; ALTER SYSTEM replaces both."""
        chosen = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "fsync": "on" if fsync else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({"shared_preload_libraries": "pg_stat_statements"} if self.binaries.has_statements else {}),
            **settings,
        }
        configuration = self.data / "postgresql.conf"
        configuration.write_text("".join(f"{name} = {quoted(value)}\n" for name, value in chosen.items()))
        self.account.give(configuration)

    def copy_to(self, directory: Path, machine: Machine) -> "Cluster":
        """The same data and password in another directory, made a standby's. The server must be stopped."""
        copy = Cluster(directory, self.binaries, self.account, machine)
        shutil.copytree(self.data, copy.data)
        (copy.data / "standby.signal").touch()
        self.account.give(copy.data, *copy.data.rglob("*"))
        write_private(copy.password_file, self.password_file.read_text())
        return copy

    def remove(self) -> None:
        """Delete what lies outside the caller's directory. Nothing happens when there is nothing."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


def runnable(binaries: PostgresBinaries, account: Account, machine: Machine) -> Path:
    """The folder of the programs, or of a copy when the account cannot reach them."""
    if account.can_run(binaries.bin_dir / "postgres"):
        return binaries.bin_dir
    if binaries.source == "system":
        raise ToolMissing(f"PostgreSQL that {account.name} can run", f"open {binaries.bin_dir} for other OS users")
    label = f"postgres-{binaries.version}-{binaries.source}"
    return reachable_copy(binaries.bin_dir.parent, label, account=account, machine=machine) / binaries.bin_dir.name


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at no moment anybody else."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def quoted(value: str) -> str:
    """A value of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
