"""A real Apache Kafka broker as a child process: one KRaft node, on 127.0.0.1 only.

The broker ends with our process, whatever ends us. Everything that it writes lies in its directory, which the caller
owns and removes. Methods are for one thread at a time.
"""

import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pganalytics.embedded.cache import last_lines
from pganalytics.embedded.errors import PortInUse, StartFailed
from pganalytics.embedded.kafka_files import Listener, broker_properties, cluster_id, find_java, kafka_jars, write_properties
from pganalytics.embedded.leash import Child
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.ports import HOST, claim_port, free_port, is_free, is_listening

READY_TIMEOUT_S = 60.0
ATTEMPTS = 3
QUICKLY = "-XX:TieredStopAtLevel=1"
"""Java compiles in one step. A broker for minutes starts sooner and spends half as much as with a second step, also with
240,000 records."""


class Broker(Protocol):
    """A broker to talk to, ours or somebody's."""

    @property
    def bootstrap(self) -> str:
        """host:port"""
        ...

    def stop(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def kafka_broker(directory: Path, bootstrap: str | None = None) -> Broker:
    """The broker that runs at `bootstrap` (the caller's KAFKA_BOOTSTRAP), or a new one in `directory` when None."""
    return ExternalBroker(bootstrap) if bootstrap else KafkaBroker.start(directory)


class ExternalBroker:
    """A broker that somebody else runs; `stop` leaves it alone."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def stop(self) -> None:
        """Nothing: it is not ours."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class KafkaBroker:
    """A broker of our own. `port`, and with it `bootstrap`, stays the same through `start_again`."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int,
        controller_port: int,
        java: Path,
        jars: Path,
        java_options: Sequence[str],
    ) -> None:
        self.directory = directory
        self.port = port
        self.bootstrap = f"{HOST}:{port}"
        self.log_path = directory / "kafka.log"
        self._controller_port = controller_port
        self._java = java
        self._jars = jars
        self._java_options = java_options
        self._child: Child | None = None

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        port: int | None = None,
        listeners: Sequence[Listener] = (),
        options: Mapping[str, str] | None = None,
        machine: Machine | None = None,
        java_options: Sequence[str] = (QUICKLY,),
    ) -> Self:
        """Format a new log in `directory` (created; must hold no other broker) and run a broker that answers.

        `listeners` are ways in beside `port`, on ports of the caller's choice. `options` are broker settings that replace
        ours. Raises ToolMissing, FetchFailed, PortInUse, StartFailed.
        """
        machine = machine or Machine.here()
        java = find_java(machine)
        jars = kafka_jars(machine)
        directory = directory.resolve()
        if (directory / "data").exists():
            raise StartFailed("Kafka", f"{directory / 'data'} exists; give every broker a directory of its own")
        (directory / "tmp").mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            ports = {"port": claim_port(port), "controller_port": free_port()}
            broker = cls(directory, **ports, java=java, jars=jars, java_options=java_options)
            try:
                broker._write_configuration(listeners, options or {})
                broker._format()
                broker.start_again()
            except (PortInUse, StartFailed):
                lost_the_race = not (is_free(broker.port) and is_free(broker._controller_port))
                if port is not None or attempt == ATTEMPTS or not lost_the_race:
                    raise
            else:
                break
        return broker

    @property
    def pid(self) -> int:
        """The Java process."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives; it may be suspended."""
        return self._child is not None and self._child.poll() is None

    def start_again(self) -> None:
        """Run the broker on its port and data; returns when it answers. Nothing happens when it runs."""
        if self.is_running:
            return
        for port in (self.port, self._controller_port):
            if not is_free(port):
                raise PortInUse(port)
        self._child = self._java_child(["-Xms64m", "-Xmx384m", *self._java_options], "kafka.Kafka", str(self._properties))
        self._wait_until_ready(self._child)

    def restart(self) -> None:
        """`stop`, then `start_again`."""
        self.stop()
        self.start_again()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Shut down in good order, after `timeout_s` by force. Nothing happens when it does not run."""
        if self._child is not None:
            self._child.terminate(timeout_s)

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self._child is not None:
            self._child.kill()

    def suspend(self) -> None:
        """Stop the process in its tracks: connections stay open, nothing is answered."""
        self._running().suspend()

    def resume(self) -> None:
        """Undo `suspend`."""
        self._running().resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    def _running(self) -> Child:
        if self._child is None:
            raise StartFailed("Kafka", "it was never started")
        return self._child

    def _write_configuration(self, listeners: Sequence[Listener], options: Mapping[str, str]) -> None:
        ports = {"port": self.port, "controller_port": self._controller_port}
        properties = broker_properties(self.directory, **ports, listeners=listeners)
        write_properties(self._properties, {**properties, **options})

    def _format(self) -> None:
        arguments = ["format", "--ignore-formatted", "-t", cluster_id(uuid.uuid4().bytes), "-c", str(self._properties)]
        child = self._java_child([QUICKLY], "kafka.tools.StorageTool", *arguments)
        if child.wait(READY_TIMEOUT_S):
            raise StartFailed("Kafka", "formatting its log failed", log_lines=last_lines(self.log_path))

    def _java_child(self, flags: list[str], main_class: str, *arguments: str) -> Child:
        temporary = self.directory / "tmp"
        own_folder_only = [
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={temporary}",
            f"-Duser.home={self.directory}",
            f"-XX:ErrorFile={self.directory}/hs_err_%p.log",
            f"-XX:HeapDumpPath={self.directory}",
        ]
        quick = ["-XX:+UseSerialGC", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return Child.start(
            [self._java, *flags, *quick, *own_folder_only, "-cp", f"{self._jars}/*", main_class, *arguments],
            env={"PATH": "", "LC_ALL": "C.UTF-8"},
            cwd=self.directory,
            stdout=self.log_path,
            stop_signal=signal.SIGTERM,
            orphan_signal=signal.SIGKILL,
            name="kafka",
        )

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise StartFailed("Kafka", "it ended at once", log_lines=last_lines(self.log_path))
            if is_listening(self.port) and self._answers():
                return
            time.sleep(0.1)
        child.kill()
        raise StartFailed("Kafka", f"no answer in {READY_TIMEOUT_S:.0f} s", log_lines=last_lines(self.log_path))

    def _answers(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=2.0).brokers)
        except KafkaException:
            return False
