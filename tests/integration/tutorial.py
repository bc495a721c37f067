"""The tutorial as a user follows it: its settings file and its commands, with servers of ours in the place of the examples."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.leash import Child
from pganalytics.embedded.postgres import PostgresServer

DOCUMENT = Path(__file__).parents[2] / "docs/tutorial.md"
BLOCK = re.compile(r"^```(sh|sh background|sh install|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    kind: str
    text: str


def blocks() -> list[Block]:
    """All that is to be typed, in order."""
    return [Block(*found) for found in BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))]


class Reader:
    """Types what the tutorial says, in an empty folder."""

    def __init__(self, folder: Path, *, kafka: str, store: PostgresServer, target: PostgresServer, stack: ExitStack) -> None:
        self.folder = folder
        self._servers = {"store.example": store, "db1.example": target}
        self._stack = stack
        self._kafka = kafka
        self._services: list[Child] = []
        psql = next(binaries.bin_dir for binaries in find_postgres() if (binaries.bin_dir / "psql").is_file())
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PGANALYTICS_", "KAFKA_", "PG"))}
        self.env = {**kept, "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(psql), kept["PATH"]])}

    def write(self, block: Block) -> None:
        """The settings file."""
        text = self._real(block.text)
        for host, server in self._servers.items():
            text = text.replace(f'host = "{host}"', f'host = "{server.host}"\nport = {server.port}')
        (self.folder / "settings.toml").write_text(text, encoding="utf-8")

    def run(self, text: str) -> "subprocess.CompletedProcess[str]":
        """Type it into a shell that stops at the first failure. What asks for a password, twice, gets the target's."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._real(text)],
            cwd=self.folder,
            env=self.env,
            input=self._password() * 2,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            start_new_session=True,
        )

    def start(self, block: Block) -> None:
        """In a terminal of its own."""
        command = block.text.split()
        program = Path(sys.executable).parent / command[0]
        log = self.folder / f"{command[1]}.log"
        child = Child.start([program, *command[1:]], env=self.env, cwd=self.folder, stdout=log, name=command[1])
        self._services.append(self._stack.enter_context(child))

    def stop(self) -> list[int]:
        """Ctrl-C in each terminal, the agent's first; the exit codes."""
        return [service.terminate(60) for service in reversed(self._services)]

    def _real(self, text: str) -> str:
        text = text.replace("kafka.example:9092", self._kafka)
        for host, server in self._servers.items():
            text = text.replace(f"-h {host} -U postgres", f"-X -v ON_ERROR_STOP=1 -d '{server.conninfo()}'")
            text = text.replace(f"-h {host}", f"-X -v ON_ERROR_STOP=1 -h {server.host} -p {server.port}")
        return text

    def _password(self) -> str:
        file = self.folder / "secrets/db1"
        return file.read_text(encoding="utf-8") if file.exists() else ""
