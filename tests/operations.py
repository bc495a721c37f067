"""The operations page in parts: its commands, its SQL, its links."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from pganalytics.cli.main import build_app

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROGRAM = "pganalytics"


def blocks(language: str) -> list[str]:
    """The insides of code blocks."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return found


def command_lines() -> list[list[str]]:
    """Every line of the shell's blocks, as words, without comments."""
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    return [words for words in lines if words]


def inline_commands(text: str) -> list[list[str]]:
    """Commands of ours within sentences."""
    return [shlex.split(found) for found in re.findall(rf"`({PROGRAM} [^`]+)`", text)]


def parse_command(words: list[str]) -> str:
    """Let the program take the words, but not run; the command's name. Raises what it would tell a user."""
    assert words[0] == PROGRAM
    command: Any = typer.main.get_command(build_app())
    name, left = PROGRAM, words[1:]
    while hasattr(command, "commands"):
        assert left, f"{' '.join(words)} is a group of commands"
        assert left[0] in command.commands, f"there is no command {' '.join(words)}"
        name, command, left = f"{name} {left[0]}", command.commands[left[0]], left[1:]
    given = ["2" if word == "N" else word for word in left]
    with command.make_context(name, given):
        return name


def sql() -> list[str]:
    """The statements of all SQL blocks."""
    return [text.strip() for block in blocks("sql") for text in block.split(";") if text.strip()]


def anchors(text: str) -> set[str]:
    """Of the headings, as a browser of Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
