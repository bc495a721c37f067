"""What the containers are given: settings, passwords, SQL, configurations; each against the package and against compose.yaml."""

import itertools
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from compose.compose_model import COMPOSE, load_compose
from pganalytics.cli.main import build_app
from pganalytics.runtime.endpoint import health_pages
from pganalytics.runtime.health import Health
from pganalytics.runtime.settings import Collect, Sink, Streams
from pganalytics.runtime.settings_file import CONFIG_VARIABLE, load_settings

FILE = load_compose()
SETTINGS = load_settings(COMPOSE / "settings.toml")
RUNNING: dict[str, Collect | Streams | Sink] = {
    "collect": SETTINGS.collect,
    "streams": SETTINGS.streams,
    "sink": SETTINGS.sink,
}
COMMANDS = (*RUNNING, "setup")
TARGETS = [target.name or "" for target in SETTINGS.targets]
SECRETS = Path("/run/secrets")
SECRETS_OF = {"status": {"store"}, "audit": {"store"}, "events": set(), "check": {"targets_monitor"}}
"""What the commands that people are told to run in a container need there."""


def from_config(name: str) -> dict[str, Any]:
    found = yaml.safe_load((COMPOSE / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


# The services


@pytest.mark.parametrize("name", COMMANDS)
def test_a_service_runs_a_command_with_the_settings_that_are_mounted(name: str) -> None:
    one = FILE.services[name]
    assert one.command == [name]
    assert CliRunner().invoke(build_app(), [*one.command, "--help"]).exit_code == 0
    path = one.environment[CONFIG_VARIABLE]
    assert ("./settings.toml", path, True) in one.mounts()


@pytest.mark.parametrize("name", RUNNING)
def test_health_and_ports_are_those_of_the_settings(name: str) -> None:
    one, section = FILE.services[name], RUNNING[name]
    assert set(one.environment) == {CONFIG_VARIABLE, "LIVEZ"}
    assert one.environment["LIVEZ"] == f"http://127.0.0.1:{section.http_port}/livez"
    assert "/livez" in health_pages(Health(alive=list, ready=list))
    assert section.http_host == "0.0.0.0", "Prometheus asks from another container"
    assert [port.split(":")[-1] for port in one.ports] == [str(section.http_port)]
    assert int(one.stop_grace_period.removesuffix("s")) >= section.stop_timeout_s + 5


def test_each_service_has_the_passwords_that_it_needs_and_no_other() -> None:
    assert SETTINGS.store.password_file is not None
    store = SETTINGS.store.password_file
    targets = {target.password_file for target in SETTINGS.targets}
    needed = {"setup": {store}, "sink": {store}, "streams": set(), "collect": targets}
    assert {name: {SECRETS / secret for secret in FILE.services[name].secrets} for name in COMMANDS} == needed


def test_the_spool_is_on_a_volume_and_nothing_else_is_written() -> None:
    places = {place: source for source, place, read_only in FILE.services["collect"].mounts() if not read_only}
    assert places == {str(SETTINGS.collect.state_dir): "spool"}
    for name in ("setup", "streams", "sink"):
        assert all(read_only for _, _, read_only in FILE.services[name].mounts())


def test_addresses_are_those_of_the_containers() -> None:
    listeners = dict(one.split("://") for one in FILE.services["kafka"].environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert listeners["INSIDE"] == SETTINGS.kafka.bootstrap
    assert FILE.services["kafka"].ports == [f"127.0.0.1:{listeners['OUTSIDE'].split(':')[1]}:9094"]
    bound = FILE.services["kafka"].environment["KAFKA_LISTENERS"]
    assert all(f"{name}://:{port}" in bound for name, port in (("INSIDE", 9092), ("CONTROLLER", 9093), ("OUTSIDE", 9094)))
    assert SETTINGS.store.host == "store"
    assert {target.host for target in SETTINGS.targets} == set(TARGETS) < set(FILE.services)
    assert {(server.port, server.sslmode) for server in (SETTINGS.store, *SETTINGS.targets)} == {(5432, "disable")}
    assert FILE.services["workload"].environment["TARGETS"].split() == [f"{name}:5432" for name in TARGETS]


def test_targets_are_of_three_versions_and_named_after_them() -> None:
    versions = {name: FILE.services[name].image.partition(":")[2].split(".")[0] for name in TARGETS}
    assert versions == {"db14": "14", "db16": "16", "db18": "18"}


def test_the_streams_know_how_often_heartbeats_come() -> None:
    assert SETTINGS.streams.gaps.heartbeat_s == SETTINGS.metrics["heartbeat"].interval_s


def test_the_settings_set_nothing_to_what_it_is_anyway() -> None:
    """So that each line is there for a reason."""
    text = (COMPOSE / "settings.toml").read_text(encoding="utf-8")
    given = tomllib.loads(text)
    for section, model in (("collect", Collect), ("streams", Streams), ("sink", Sink)):
        for key, value in given[section].items():
            assert value != model.model_fields[key].default, f"{section}.{key}"


# Passwords


def test_passwords_are_random_kept_and_readable_by_containers_only(tmp_path: Path) -> None:
    script = tmp_path / "passwords"
    script.write_bytes((COMPOSE / "passwords").read_bytes())
    folder = tmp_path / "secrets"
    first = subprocess.run(["/bin/sh", script], capture_output=True, text=True, timeout=60, check=True).stdout
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == set(FILE.secrets)
    assert first.splitlines() == [f"made secrets/{name}" for name in re.findall(r"secrets/(\w+)", first)]
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", word) for word in made.values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    (folder / "store").unlink()
    again = subprocess.run(["/bin/sh", script], capture_output=True, text=True, timeout=60, check=True).stdout
    assert again == "made secrets/store\n"
    now = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in made if made[name] != now[name]} == {"store"}
    assert (COMPOSE / "passwords").stat().st_mode & 0o111


def test_nothing_secret_is_ever_committed() -> None:
    ignored = (COMPOSE.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"compose/secrets/", "compose/.env"} <= set(ignored)


# SQL


@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_role_is_what_check_prints(name: str) -> None:
    """But for whom it is, and how the password comes. Made with `check --print-role-sql` and two lines of its own."""
    words = ["check", "--print-role-sql", "--target", name, "--config", str(COMPOSE / "settings.toml")]
    printed = CliRunner().invoke(build_app(), words)
    assert printed.exit_code == 0
    wanted = [line for line in printed.stdout.splitlines()[2:] if not line.startswith("\\password")]
    (user,) = {target.user for target in SETTINGS.targets}
    kept = (COMPOSE / "targets/10-role.sql").read_text(encoding="utf-8").splitlines()
    assert kept[2:-2] == wanted, "make it anew: compose/README.md says how"
    assert kept[-2:] == ["\\set monitor `cat /run/secrets/targets_monitor`", f"alter role \"{user}\" password :'monitor';"]


@pytest.mark.parametrize("name", ["store", *TARGETS])
def test_sql_reads_only_passwords_that_its_container_has(name: str) -> None:
    one = FILE.services[name]
    (folder,) = [COMPOSE / source for source, place, _ in one.mounts() if place.startswith("/docker-entrypoint-initdb.d")]
    texts = [path.read_text(encoding="utf-8") for path in ([folder] if folder.is_file() else sorted(folder.iterdir()))]
    named = {secret for text in texts for secret in re.findall(r"`cat /run/secrets/(\w+)`", text)}
    superuser = one.environment["POSTGRES_PASSWORD_FILE"].removeprefix("/run/secrets/")
    assert named | {superuser} == set(one.secrets)
    assert not re.search(r"password\s+'", "".join(texts))


def test_the_workload_has_the_files_that_it_names() -> None:
    one = FILE.services["workload"]
    script = COMPOSE / "workload/run"
    assert one.entrypoint == ["/workload/run"]
    assert script.stat().st_mode & 0o111
    assert one.environment["PASSWORD_FILE"].removeprefix("/run/secrets/") in one.secrets
    named = re.findall(r"\$here/(\w+\.sql)", script.read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.name for path in script.parent.glob("*.sql"))


# Prometheus and Grafana


def test_prometheus_asks_the_three_services_and_has_the_rules() -> None:
    config = from_config("prometheus/prometheus.yml")
    assert set(config) == {"global", "rule_files", "scrape_configs"}
    jobs = {job["job_name"]: job["static_configs"] for job in config["scrape_configs"]}
    assert jobs == {f"pganalytics-{name}": [{"targets": [f"{name}:{section.http_port}"]}] for name, section in RUNNING.items()}
    places = {place for _, place, _ in FILE.services["prometheus"].mounts()}
    assert set(config["rule_files"]) < places
    flags = dict(word.split("=", 1) for word in FILE.services["prometheus"].command)
    assert {flags["--config.file"], flags["--storage.tsdb.path"]} < places


def test_grafana_reads_prometheus_and_the_store() -> None:
    sources = from_config("grafana/provisioning/datasources/pganalytics.yaml")["datasources"]
    assert isinstance(sources, list)
    found = {one["uid"]: one for one in sources}
    assert set(found) == {"prometheus", "store"}
    assert found["prometheus"]["url"] == "http://prometheus:9090"
    store = found["store"]
    init = (COMPOSE / "store/init.sql").read_text(encoding="utf-8")
    assert (store["url"], store["jsonData"]["database"]) == ("store:5432", SETTINGS.store.dbname)
    assert f"create role {store['user']} login" in init
    assert f"create database {SETTINGS.store.dbname} owner {SETTINGS.store.user};" in init
    secret = re.fullmatch(r"\$__file\{/run/secrets/(\w+)\}", store["secureJsonData"]["password"])
    assert secret is not None
    assert secret[1] in FILE.services["grafana"].secrets
    assert f"\\set {store['user']} `cat /run/secrets/{secret[1]}`" in init
    major = FILE.services["store"].image.partition(":")[2].split(".")[0]
    assert store["jsonData"]["postgresVersion"] == int(major) * 100


def test_grafana_finds_its_dashboards() -> None:
    (provider,) = from_config("grafana/provisioning/dashboards/pganalytics.yaml")["providers"]
    mounts = {place: COMPOSE / source for source, place, _ in FILE.services["grafana"].mounts() if source.startswith(".")}
    folder = mounts[provider["options"]["path"]]
    home = Path(FILE.services["grafana"].environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (folder / home.name).is_file()
    assert str(home.parent) == provider["options"]["path"]
    assert mounts["/etc/grafana/provisioning"].is_dir()
    assert {path.name for path in mounts["/etc/grafana/provisioning"].iterdir()} == {"datasources", "dashboards"}


# What people are told to type


@pytest.mark.parametrize("path", ["README.md", "../README.md"])
def test_commands_of_the_readme_exist(path: str) -> None:
    """Each `docker compose` names the file and services that there are, and each command in a container one of ours."""
    text = (COMPOSE / path).read_text(encoding="utf-8")
    lines = [line.partition("#")[0].split() for line in text.splitlines() if line.startswith("docker compose")]
    inline = [found.split() for found in re.findall(r"`(docker compose [^`]+)`", text)]
    assert lines
    for words in [*lines, *inline]:
        assert words[:4] == ["docker", "compose", "-f", "compose/compose.yaml"], words
        verb, *rest = words[4:]
        named = [word for word in rest if not word.startswith("-")]
        if verb in ("exec", "run"):
            service, *arguments = itertools.dropwhile(lambda word: word.startswith("--"), rest)
            if verb == "exec":  # `run` has the image's entry point before it
                assert arguments.pop(0) == "pganalytics"
            assert SECRETS_OF[arguments[0]] <= set(FILE.services[service].secrets)
            options = [word for word in arguments if word.startswith("--")]
            told = CliRunner().invoke(build_app(), [arguments[0], "--help"], env={"COLUMNS": "200"})
            assert told.exit_code == 0
            assert all(option in told.stdout for option in options)
        else:
            assert verb in ("up", "down", "kill", "start", "stop", "restart"), words
            assert set(named) <= set(FILE.services), words


def test_ports_of_the_readme_are_those_that_are_published() -> None:
    text = (COMPOSE / "README.md").read_text(encoding="utf-8")
    published = {port.split(":")[1] for one in FILE.services.values() for port in one.ports}
    assert set(re.findall(r"(?:127\.0\.0\.1:|-p )(\d+)", text)) < published
