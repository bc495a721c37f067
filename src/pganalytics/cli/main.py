"""The console script `pganalytics`. Of a command that is named only its own module is loaded: the others cost a second."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

import typer

from pganalytics.cli.shell import guarded


class Command(NamedTuple):
    """A word, where its function is (below `pganalytics.cli`, as module:function), and what it is for."""

    name: str
    where: str
    about: str

    def load(self) -> Callable[..., None]:
        """The function, whose errors become lines and exit codes."""
        module, _, function = self.where.partition(":")
        return guarded(getattr(import_module(f"pganalytics.cli.{module}"), function))


class Group(NamedTuple):
    """A word that others follow."""

    name: str
    about: str
    commands: tuple[Command, ...]


COMMANDS = (
    Command(
        "demo",
        "demo.command:run",
        "Run the whole pipeline on this machine, against real servers, and prove that nothing is missing.",
    ),
    Command("setup", "setup:run", "Make topics and store, or mend what is missing."),
    Command("check", "check:run", "Read each target once: say what can be read, what cannot, and what mends it. Asks no broker."),
    Command("collect", "services:collect", "Read the targets and send their records: the agent."),
    Command("streams", "services:streams", "Run the stream processors: quotas, lanes, gaps."),
    Command("sink", "services:sink", "Write admitted records into the store."),
    Command("status", "status.command:run", "Show the pipeline and the fleet on one screen: what is wrong, and what to type."),
    Command(
        "top",
        "top.command:run",
        "Show the fleet and one target live: load, statements, waits, blocking chains; --once prints one picture.",
    ),
    Command("events", "events:run", "Show what the streams and the sink noticed; --follow goes on."),
    Command("gaps", "gaps:run", "Show what was sent and has not arrived, and since when. Exit 1: something is missing."),
    Command("audit", "audit:run", "Prove that nothing is missing, or say what is."),
    Command("retire", "retire:run", "Give up what is left of a collector whose spool is gone: it becomes missing."),
    Command("version", "version:run", "Print the version."),
)
GROUPS = (
    Group(
        "config",
        "The settings.",
        (Command("show", "config:show", "Print the settings as they are resolved from file, environment and defaults."),),
    ),
    Group(
        "metrics",
        "What is measured.",
        (
            Command("list", "metrics:list_", "All metrics, those of your own among them: how often, how wide, what they need."),
            Command("show", "metrics:show", "One metric with its fields, and the query that a server of a version is asked."),
        ),
    ),
    Group(
        "dead-letters",
        "What could not be stored.",
        (
            Command(
                "list",
                "dead_letters:list_",
                "What could not be stored, why, and what became of it since. Exit 0 whatever it holds.",
            ),
            Command(
                "show",
                "dead_letters:show",
                "One record that could not be stored, with all its headers and its body. Exit 1: the topic has it no more.",
            ),
        ),
    ),
    Group(
        "replay",
        "Send records to the sink again; what comes twice is stored once.",
        (
            Command(
                "dead-letters",
                "replay:dead_letters",
                "What could not be stored, back to where it was read. Exit 1: nothing matches, or not all can be sent.",
            ),
            Command(
                "admitted",
                "replay:admitted",
                "What was admitted and is still in its topic. Exit 1: nothing matches, or not all can be sent.",
            ),
        ),
    ),
    Group(
        "quota",
        "What collectors may send: overrides of the settings, without a restart.",
        (
            Command("set", "quota:set_", "Set what a collector, or all that a pattern fits, may send; replaces what NAME had."),
            Command("list", "quota:list_", "All that are set, in the order in which they count. Exit 1: one cannot be used."),
            Command("unset", "quota:unset", "Take back what was set under a name. Exit 1: nothing was."),
        ),
    ),
)


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """The commands. When the first of the words is one of them or a group, that one alone: nobody asks for the others."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Fleet-wide PostgreSQL monitoring over Kafka that accounts for every record.",
        epilog="Exit codes: 0 well, 1 found a problem, 2 usage or settings, 69 something needed is unreachable, 70 crash.",
    )
    app.callback()(_nothing)
    named = [one for one in (*COMMANDS, *GROUPS) if one.name in words[:1]]
    for one in named or (*COMMANDS, *GROUPS):
        if isinstance(one, Command):
            app.command(one.name, help=one.about)(one.load())
            continue
        group = typer.Typer(no_args_is_help=True, help=one.about)
        group.callback()(_nothing)
        for command in one.commands:
            group.command(command.name, help=command.about)(command.load())
        app.add_typer(group, name=one.name)
    return app


def _nothing() -> None:
    """With it an app of a single command does not take that command's place."""


def main() -> None:
    """Entry point of the console script."""
    build_app(sys.argv[1:])()
