"""Each command of the tutorial, typed in its order, does what the tutorial says."""

import json
import secrets
import tomllib
from contextlib import ExitStack
from pathlib import Path

import psycopg

from integration.tutorial import Reader, blocks
from pganalytics.embedded.binaries import choose_postgres
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from waiting import until

SOON = {name: {"interval_s": 1} for name in ("heartbeat", "statements", "query_text", "database")}
ROOT = Path(__file__).parents[2]


def test_it_leads_to_statements_in_the_store(kafka: KafkaBroker, tmp_path: Path) -> None:
    with ExitStack() as stack:
        binaries = choose_postgres(2)[0]
        store = stack.enter_context(PostgresServer.start(tmp_path / "store", binaries=binaries))
        preload = {"shared_preload_libraries": "pg_stat_statements"}
        target = stack.enter_context(PostgresServer.start(tmp_path / "db1", binaries=binaries, settings=preload))
        folder = tmp_path / "reader"
        folder.mkdir()
        reader = Reader(folder, kafka=kafka.bootstrap, store=store, target=target, stack=stack)
        one_broker: dict[str, object] = {
            "prefix": f"t{secrets.token_hex(6)}",
            "development": True,
            "replication_factor": 1,
            "min_insync_replicas": 1,
        }
        reader.env |= {f"PGANALYTICS_KAFKA__{key.upper()}": str(value) for key, value in one_broker.items()}
        reader.env |= {"PGANALYTICS_METRICS": json.dumps(SOON)}
        reader.env |= {f"PGANALYTICS_{section}__HTTP_PORT": "0" for section in ("COLLECT", "STREAMS", "SINK")}
        answers = follow(reader, target)
        assert "settings can be read" in answers[0]
        assert "1 of 1 targets reached" in next(answer for answer in answers if "targets reached" in answer)
        assert "all well" in next(answer for answer in answers if "collect" in answer and "lag of" in answer)
        assert "count" in next(answer for answer in answers if "generate_series" in answer)
        assert "missing" in answers[-1]
        assert reader.stop() == [0, 0, 0]


def follow(reader: Reader, target: PostgresServer) -> list[str]:
    """Everything but the installation; what each command printed."""
    answers = []
    for block in blocks():
        if block.kind == "toml":
            reader.write(block)
        elif block.kind == "sh background":
            reader.start(block)
        elif block.kind == "sh":
            if "status" in block.text:
                a_minute_later(reader, target, block.text)
            done = reader.run(block.text)
            assert done.returncode == 0, (block.text, done.stdout, done.stderr)
            answers.append(done.stdout + done.stderr)
    return answers


def a_minute_later(reader: Reader, target: PostgresServer, status: str) -> None:
    """Statements have run, have been read and stored, and nothing is behind."""

    def costly_one_is_there() -> bool:
        with psycopg.connect(target.conninfo(), autocommit=True) as connection:
            connection.execute("select count(*) from generate_series(1, 1000)")
        answer = reader.run(next(block.text for block in blocks() if "costly.sql" in block.text))
        return "generate_series" in answer.stdout

    until(costly_one_is_there, 90, every_s=1)
    until(lambda: reader.run(status).returncode == 0, 60, every_s=1)


def test_what_it_installs_exists() -> None:
    (install,) = [block.text for block in blocks() if block.kind == "sh install"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "'.[streams]'" in install
    assert "streams" in project["optional-dependencies"]
    assert install.splitlines()[-1].split()[0] in project["scripts"]
