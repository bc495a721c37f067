"""Settings are resolved once; every problem is reported, with the place and a hint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pganalytics.runtime import postgres
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.kafka import client_config, producer_config
from pganalytics.runtime.postgres import authorities_of, conninfo, read_password
from pganalytics.runtime.settings import Kafka, Server, Settings
from pganalytics.runtime.settings_file import load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGANALYTICS_CONFIG", raising=False)


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_valid() -> None:
    """Without a file and environment everything has a value."""
    assert load_settings(None).store.dbname == "pganalytics"


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable overrides one key and leaves its neighbours."""
    path = written(tmp_path, '[kafka]\nbootstrap = "a:1"\npartitions = 3\n[store]\nhost = "db"\n')
    monkeypatch.setenv("PGANALYTICS_KAFKA__BOOTSTRAP", "b:2")
    monkeypatch.setenv("PGANALYTICS_TARGETS", '[{"host": "h", "name": "one"}]')
    settings = load_settings(path)
    assert (settings.kafka.bootstrap, settings.kafka.partitions) == ("b:2", 3)
    assert (settings.store.host, settings.store.dbname) == ("db", "pganalytics")
    assert settings.targets[0].name == "one"


def test_all_problems_together(tmp_path: Path) -> None:
    """Unknown keys come with a hint, wrong values with their place."""
    path = written(
        tmp_path,
        '[kafak]\na = 1\n[kafka]\nbootsrap = "x"\npartitions = 0\n[[targets]]\nhost = "a"\npasword = "s3cret"\n'
        "[metrics.statements]\nlimit = 5\n",
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert all(problem.startswith(str(path)) for problem in caught.value.problems)
    for part in (
        "kafak: unknown key; did you mean `kafka`?",
        "kafka.bootsrap: unknown key; did you mean `bootstrap`?",
        "targets[0].pasword: unknown key; did you mean `password`?",
        "kafka.partitions: Input should be greater than or equal to 1 (given: 0)",
        "metrics.statements.limit",
    ):
        assert part in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PGANALYTICS_KAFAK__X", "1", "environment PGANALYTICS_KAFAK__X: no section 'kafak'; did you mean `kafka`?"),
        ("PGANALYTICS_KAFKA__PARTITONS", "1", "did you mean `partitions`?"),
        ("PGANALYTICS_KAFKA__PARTITIONS", "many", "environment PGANALYTICS_KAFKA__PARTITIONS: kafka.partitions"),
        ("PGANALYTICS_TARGETS", "[", "environment"),
    ],
)
def test_wrong_variables_are_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str) -> None:
    """A mistyped variable is refused, not ignored."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=says.replace("?", r"\?")):
        load_settings(None)


@pytest.mark.parametrize(("text", "says"), [("[kafka\n", "not TOML"), (None, "no such settings file"), ("\x00", "not TOML")])
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, says: str) -> None:
    """The file is named."""
    path = tmp_path / "absent.toml" if text is None else written(tmp_path, text)
    with pytest.raises(SettingsError, match=says):
        load_settings(path)


def test_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    """Bytes of another encoding are an error of the file."""
    path = tmp_path / "settings.toml"
    path.write_bytes(b'[kafka]\nbootstrap = "\xff"\n')
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(path)


@pytest.mark.parametrize(
    "wrong",
    [
        '[[targets]]\nhost = "postgresql://u:s3cret@h/d"\n',
        '[[targets]]\ndbname = "postgresql://u:s3cret@h/d"\n',
        "[[targets]]\npassword = 53\npassword_file = 's3cret'\nport = 'postgresql://u:s3cret@h'\n",
        "[kafka.options]\n'sasl.password' = ['s3cret']\n'ssl.key.pem' = ['s3cret']\n",
    ],
)
def test_no_problem_of_the_settings_shows_a_secret(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, wrong))
    assert "s3cret" not in str(caught.value)


def test_a_command_for_a_password_that_does_not_end_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for its name: its words may be the password."""
    monkeypatch.setattr("pganalytics.runtime.postgres.COMMAND_TIMEOUT_S", 0.1)
    with pytest.raises(SettingsError, match="password_command sh: it did not end") as caught:
        read_password(Server(password_command=["sh", "-c", "sleep 5; echo s3cret"]))
    assert "s3cret" not in str(caught.value)


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    """One place for a secret."""
    path = written(tmp_path, '[store]\npassword = "a"\npassword_file = "b"\n')
    with pytest.raises(SettingsError, match="store: only one of password, password_file"):
        load_settings(path)


def test_passwords(tmp_path: Path) -> None:
    """From the settings, a file or a command; the first line counts; failures name their source."""
    file = tmp_path / "secret"
    file.write_text("pa ss'wo\\rd\nsecond\n", encoding="utf-8")
    server = Server(password_file=file)
    assert read_password(server) == "pa ss'wo\\rd"
    assert "user=pganalytics" in conninfo(server)
    assert read_password(Server(password_command=["printf", "%s\\nx", "abc"])) == "abc"
    assert read_password(Server()) is None
    with pytest.raises(SettingsError, match=r"password_file .*absent"):
        read_password(Server(password_file=tmp_path / "absent"))
    with pytest.raises(SettingsError, match="password_command false: exit code 1"):
        read_password(Server(password_command=["false"]))
    with pytest.raises(SettingsError, match="password_command no-such-program"):
        read_password(Server(password_command=["no-such-program"]))


def test_secrets_do_not_print() -> None:
    """`repr` of settings hides the password."""
    assert "s3cret" not in repr(Settings(store=Server.model_validate({"password": "s3cret"})))


def test_options_reach_the_client_but_break_no_guarantee() -> None:
    """[kafka.options] passes through; what correctness rests on is refused by name."""
    kafka = Kafka(options={"security.protocol": "SSL", "linger.ms": 7})
    assert client_config(kafka, name="x")["security.protocol"] == "SSL"
    made = producer_config(kafka, name="x")
    assert (made["acks"], made["linger.ms"], made["compression.type"]) == ("all", 7, "zstd")
    with pytest.raises(SettingsError, match=r"kafka.options: acks is fixed"):
        producer_config(Kafka(options={"acks": "1"}), name="x")


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({"host": "127.0.0.1"}, "prefer"),
        ({"host": "127.8.8.8"}, "prefer"),
        ({"host": "::1"}, "prefer"),
        ({"host": "localhost"}, "prefer"),
        ({"host": "/run/postgresql"}, "prefer"),
        ({"host": "db1.example"}, "verify-full"),
        ({"host": "10.0.0.1"}, "verify-full"),
        ({"host": "fe80::1"}, "verify-full"),
        ({"host": "127.0.0.1.example"}, "verify-full"),
        ({"host": "127.0.0.1,db1.example"}, "verify-full"),
        ({"host": "db1.example", "sslmode": "prefer"}, "prefer"),
        ({"host": "127.0.0.1", "sslmode": "verify-full"}, "verify-full"),
    ],
)
def test_across_a_network_a_server_must_prove_who_it_is(given: dict[str, Any], mode: str) -> None:
    """By the address alone, unless the settings say otherwise."""
    server = Server.model_validate(given)
    assert f"sslmode={mode}" in conninfo(server)
    assert ("sslrootcert=" in conninfo(server)) == (mode == "verify-full")


def test_who_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file of the settings; else the system's authorities, and where none are found libpq is left to look for them."""
    far = Server(host="db1.example")
    assert authorities_of(far.model_copy(update={"sslrootcert": Path("/mine.pem")})) == "/mine.pem"
    assert authorities_of(Server()) is None
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: SimpleNamespace(cafile=None))
    monkeypatch.setattr(postgres, "SYSTEM_AUTHORITIES", (str(tmp_path / "absent"), str(bundle)))
    assert authorities_of(far) == str(bundle)
    monkeypatch.setattr(postgres, "SYSTEM_AUTHORITIES", ())
    assert authorities_of(far) == "system"
    assert authorities_of(far.model_copy(update={"sslmode": "verify-ca"})) is None
