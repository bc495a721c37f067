"""The Dockerfile, read by a strict reader, and its build stage run in a folder: what an engine would do, as far as that goes.

Paths of the image become paths below the folder; the machine's own Python stands for the base image's.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from compose.compose_model import ROOT

DOCKERFILE = ROOT / "compose/Dockerfile"
KNOWN = frozenset("FROM WORKDIR COPY RUN ENV USER ENTRYPOINT CMD HEALTHCHECK".split())
PLACES = ("/build", "/opt")
"""Folders of the image in which the build stage works."""


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` has what follows its word, on one line."""

    word: str
    text: str

    @property
    def words(self) -> list[str]:
        """A JSON list as it is, anything else as a shell would take it apart."""
        if self.text.startswith("["):
            found = json.loads(self.text)
            assert all(isinstance(one, str) for one in found), self.text
            return [str(one) for one in found]
        return shlex.split(self.text)


@dataclass(frozen=True)
class Stage:
    """What follows one FROM."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def one(self, word: str) -> Instruction:
        """The only instruction of a kind."""
        (found,) = (each for each in self.instructions if each.word == word)
        return found

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        pairs = [pair.split("=", 1) for each in self.instructions if each.word == "ENV" for pair in each.words]
        return {pair[0]: pair[1] for pair in pairs}


def read_stages(path: Path = DOCKERFILE) -> list[Stage]:
    """The stages; an instruction that this reader does not know is an error."""
    stages: list[Stage] = []
    for one in _instructions(path.read_text(encoding="utf-8")):
        assert one.word in KNOWN, one
        if one.word == "FROM":
            base, *name = one.words
            assert not name or name[0] == "AS", one
            stages.append(Stage(base, name[1] if name else "", ()))
        else:
            last = stages.pop()
            stages.append(Stage(last.base, last.name, (*last.instructions, one)))
    return stages


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for logical in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = logical.partition(" ")
        yield Instruction(word, rest.strip())


def copy_context(folder: Path) -> None:
    """What the engine is sent of this repository: all that .dockerignore lets through. The last pattern that fits counts."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT)
        if name.parts[0] not in (".venv", ".git") and path.is_file() and not _ignored(name, patterns):
            (folder / name.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)


def _ignored(name: Path, patterns: list[str]) -> bool:
    ignored = False
    places = [str(name), *(str(parent) for parent in name.parents)][:-1]
    for pattern in patterns:
        plain = pattern.removeprefix("!").removeprefix("**/")
        assert "/" not in plain, f"{pattern}: not understood"
        anywhere = pattern.startswith("**/")
        if any(fnmatch(part, plain) for part in (name.parts if anywhere else [place for place in places if "/" not in place])):
            ignored = not pattern.startswith("!")
    return ignored


def run_stage(stage: Stage, context: Path, root: Path) -> None:
    """Do what the instructions say, below `root`."""
    where = root
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    for one in stage.instructions:
        if one.word == "WORKDIR":
            where = root / one.text.lstrip("/")
            where.mkdir(parents=True)
        elif one.word == "COPY":
            _copy(one, context, where)
        else:
            assert one.word == "RUN", one
            done = subprocess.run(
                ["/bin/sh", "-c", placed(one.text, root)],
                cwd=where,
                env={"PATH": path, "HOME": str(root)} | _passed_on(),
                capture_output=True,
                text=True,
                timeout=280,
                check=False,
            )
            assert done.returncode == 0, f"{one.text}\n{done.stdout}{done.stderr}"


def placed(text: str, root: Path) -> str:
    """A command with the image's folders below `root`."""
    for place in PLACES:
        text = re.sub(rf"(?<![\w./]){place}(?=[/ ]|$)", str(root / place.lstrip("/")), text)
    return text


def _copy(one: Instruction, context: Path, where: Path) -> None:
    *sources, target = one.words
    assert target.startswith("./"), one
    for source in sources:
        if (context / source).is_dir():
            shutil.copytree(context / source, where / target, dirs_exist_ok=True)
        else:
            shutil.copy(context / source, where / target)


def _passed_on() -> dict[str, str]:
    """How this machine's pip finds packages: by its settings, which are not the image's matter."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
