"""compose.yaml says what an engine needs, and all that it names is there: no engine is needed to know that."""

import re
from itertools import chain

import pytest
import yaml
from pydantic import ValidationError

from compose.compose_model import COMPOSE, ROOT, VARIABLE, Compose, load_compose
from compose.dockerfile import read_stages

FILE = load_compose()
OURS = "pganalytics:compose"
SERVICES = {name: one for name, one in FILE.services.items() if one.image == OURS}
TEXT = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
EXACT = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?")
RULES = "../deploy/prometheus/rules.yaml"


def refused(old: str, new: str) -> None:
    assert old in TEXT
    found = yaml.safe_load(TEXT.replace(old, new, 1))
    with pytest.raises(ValidationError):
        Compose.model_validate({key: value for key, value in found.items() if not key.startswith("x-")})


def test_the_model_refuses_what_it_does_not_know() -> None:
    """The control: a key with a slip of the pen, a number where a text belongs, a condition that there is not."""
    refused("stop_grace_period:", "stop_grace:")
    refused('KAFKA_NODE_ID: "1"', "KAFKA_NODE_ID: 1")
    refused("service_completed_successfully", "service_done")


def test_the_services_are_those_that_the_readme_of_the_folder_has() -> None:
    assert set(FILE.services) == {
        *("kafka", "store", "db14", "db16", "db18", "workload", "setup"),
        *("streams", "sink", "collect", "prometheus", "grafana"),
    }
    assert set(SERVICES) == {"setup", "streams", "sink", "collect"}
    told = (COMPOSE / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in told for name in FILE.services)


def test_images_are_pinned_to_a_release() -> None:
    others = [one.image for one in FILE.services.values() if one.image != OURS] + [stage.base for stage in read_stages()]
    for image in others:
        assert EXACT.match(image), image


def test_one_service_builds_our_image_and_nobody_pulls_it() -> None:
    """Builders of one name at a time get into each other's way; all are built before any container starts."""
    assert {name: one.pull_policy for name, one in SERVICES.items()} == {
        **dict.fromkeys(SERVICES, "never"),
        "setup": "build",
    }
    (build,) = [one.build for one in FILE.services.values() if one.build is not None]
    assert build == SERVICES["setup"].build
    assert (COMPOSE / build.context).resolve() == ROOT
    assert (ROOT / build.dockerfile).is_file()
    assert {one.pull_policy for name, one in FILE.services.items() if name not in SERVICES} == {"missing"}


def test_ports_are_on_this_machine_only() -> None:
    ports = list(chain.from_iterable(one.ports for one in FILE.services.values()))
    assert len(ports) == 7
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    assert len({port.split(":")[1] for port in ports}) == len(ports)
    assert len(re.findall(r"^ *(ports|network_mode|expose):", TEXT, re.MULTILINE)) == len(ports)


def test_the_example_of_env_has_the_variables_that_are_used_and_no_other() -> None:
    lines = (COMPOSE / ".env.example").read_text(encoding="utf-8").splitlines()
    told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert told == dict(VARIABLE.findall(TEXT))
    assert load_compose(environment=told) == FILE
    for number, line in enumerate(lines):
        assert not line or line.startswith("#") or lines[number - 1].startswith("#"), f"{line}: nothing says what it is"
    moved = load_compose(environment={name: "1" + value for name, value in told.items()})
    assert {port.split(":")[1] for one in moved.services.values() for port in one.ports} == {"1" + each for each in told.values()}


def test_each_variable_has_one_default() -> None:
    found = VARIABLE.findall(TEXT)
    assert len(dict(found)) == len(set(found))


def test_what_is_waited_for_can_come_true() -> None:
    (image,) = [stage for stage in read_stages() if not stage.name]
    assert image.one("HEALTHCHECK")
    for one in FILE.services.values():
        for name, dependency in one.depends_on.items():
            needed = FILE.services[name]
            if dependency.condition == "service_healthy":
                assert needed.healthcheck is not None or needed.image == OURS, name
                assert needed.healthcheck is None or needed.healthcheck.test, name
            else:
                assert (needed.restart, needed.healthcheck and needed.healthcheck.disable) == ("no", True), name


def test_everything_starts_after_what_it_needs() -> None:
    """There is an order, and in it setup comes after broker and store, and services after setup and targets."""
    order: list[str] = []
    while len(order) < len(FILE.services):
        ready = [name for name, one in FILE.services.items() if name not in order and set(one.depends_on) <= set(order)]
        assert ready, "they wait for each other"
        order += ready
    assert set(FILE.services["setup"].depends_on) == {"kafka", "store"}
    assert all("setup" in FILE.services[name].depends_on for name in ("streams", "sink", "collect"))
    assert {"db14", "db16", "db18"} < set(FILE.services["collect"].depends_on)
    assert set(FILE.services["prometheus"].depends_on) == {"streams", "sink", "collect"}


def test_everything_that_is_mounted_is_there() -> None:
    used = set()
    for one in FILE.services.values():
        for source, place, read_only in one.mounts():
            assert place.startswith("/"), place
            if source.startswith("."):
                assert read_only, source
                assert (COMPOSE / source).exists(), f"{source}: an engine would make an empty folder of it"
            else:
                used.add(source)
                assert not read_only, source
    assert used == set(FILE.volumes)


def test_what_must_survive_is_on_volumes() -> None:
    kept = {name: [place for source, place, _ in one.mounts() if source in FILE.volumes] for name, one in FILE.services.items()}
    assert {name for name, places in kept.items() if places} == {
        *("kafka", "store", "db14", "db16", "db18", "collect", "prometheus", "grafana")
    }
    assert kept["kafka"] == [FILE.services["kafka"].environment["KAFKA_LOG_DIRS"]]
    assert kept["store"] == kept["db14"] == kept["db16"] == ["/var/lib/postgresql/data"]
    assert kept["db18"] == ["/var/lib/postgresql"], "since 18 the image declares its volume here"


def test_a_volume_that_the_image_declares_has_a_name_or_is_not_made() -> None:
    """Those without a name are made anew with each container, and `down` leaves them."""
    declared = {
        "apache/kafka": {"/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"},
        "postgres:14": {"/var/lib/postgresql/data"},
        "postgres:16": {"/var/lib/postgresql/data"},
        "postgres:17": {"/var/lib/postgresql/data"},
        "postgres:18": {"/var/lib/postgresql"},
        "prom/prometheus": {"/prometheus"},
    }
    for name, one in FILE.services.items():
        places = next((known for image, known in declared.items() if one.image.startswith(image)), set())
        assert places <= {place for _, place, _ in one.mounts()} | set(one.tmpfs), name


def test_secrets_are_declared_used_and_nowhere_else() -> None:
    assert {name for one in FILE.services.values() for name in one.secrets} == set(FILE.secrets)
    assert {name: one.file for name, one in FILE.secrets.items()} == {name: f"./secrets/{name}" for name in FILE.secrets}
    for one in FILE.services.values():
        for name, value in one.environment.items():
            if "PASSWORD" in name:
                assert value.removeprefix("/run/secrets/") in one.secrets, name


def test_our_services_end_when_they_are_told_to() -> None:
    """Also while they start, and handle no signal yet: as its container's first process such a service would not end."""
    assert all(one.init for one in SERVICES.values())


@pytest.mark.parametrize("name", [*sorted(SERVICES), "workload", "prometheus"])
def test_who_needs_no_rights_has_none(name: str) -> None:
    one = FILE.services[name]
    assert (one.read_only, one.cap_drop, one.security_opt) == (True, ["ALL"], ["no-new-privileges:true"])
    assert one.image != "postgres" or one.user
