"""The console script `pganalytics`."""

import typer

from pganalytics import __version__
from pganalytics.cli import audit, check, config, dead_letters, events, gaps, metrics, quota, replay, retire, services, setup
from pganalytics.cli.demo import command as demo
from pganalytics.cli.shell import guarded
from pganalytics.cli.status import command as status
from pganalytics.cli.top import command as top

COMMANDS = (
    ("demo", demo.run, "Run the whole pipeline on this machine, against real servers, and prove that nothing is missing."),
    ("setup", setup.run, "Make topics and store, or mend what is missing."),
    ("check", check.run, "Read each target once: say what can be read, what cannot, and what mends it. Asks no broker."),
    ("collect", services.collect, "Read the targets and send their records: the agent."),
    ("streams", services.streams, "Run the stream processors: quotas, lanes, gaps."),
    ("sink", services.sink, "Write admitted records into the store."),
    ("status", status.run, "Show the pipeline and the fleet on one screen: what is wrong, and what to type."),
    ("top", top.run, "Show the fleet and one target live: load, statements, waits, blocking chains; --once prints one picture."),
    ("events", events.run, "Show what the streams and the sink noticed; --follow goes on."),
    ("gaps", gaps.run, "Show what was sent and has not arrived, and since when. Exit 1: something is missing."),
    ("audit", audit.run, "Prove that nothing is missing, or say what is."),
    ("retire", retire.run, "Give up what is left of a collector whose spool is gone: it becomes missing."),
    ("version", lambda: print(f"pganalytics {__version__}"), "Print the version."),
)


def build_app() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Fleet-wide PostgreSQL monitoring over Kafka that accounts for every record.",
        epilog="Exit codes: 0 well, 1 found a problem, 2 usage or settings, 69 something needed is unreachable, 70 crash.",
    )
    for name, function, about in COMMANDS:
        app.command(name, help=about)(guarded(function))
    group = typer.Typer(no_args_is_help=True, help="The settings.")
    group.command("show", help="Print the settings as they are resolved from file, environment and defaults.")(
        guarded(config.show)
    )
    app.add_typer(group, name="config")
    measured = typer.Typer(no_args_is_help=True, help="What is measured.")
    measured.command("list", help="All metrics, those of your own among them: how often, how wide, what they need.")(
        guarded(metrics.list_)
    )
    measured.command("show", help="One metric with its fields, and the query that a server of a version is asked.")(
        guarded(metrics.show)
    )
    app.add_typer(measured, name="metrics")
    letters = typer.Typer(no_args_is_help=True, help="What could not be stored.")
    letters.command("list", help="What could not be stored, why, and what became of it since. Exit 0 whatever it holds.")(
        guarded(dead_letters.list_)
    )
    letters.command(
        "show", help="One record that could not be stored, with all its headers and its body. Exit 1: the topic has it no more."
    )(guarded(dead_letters.show))
    app.add_typer(letters, name="dead-letters")
    again = typer.Typer(no_args_is_help=True, help="Send records to the sink again; what comes twice is stored once.")
    again.command(
        "dead-letters",
        help="What could not be stored, back to where it was read. Exit 1: nothing matches, or not all can be sent.",
    )(guarded(replay.dead_letters))
    again.command(
        "admitted", help="What was admitted and is still in its topic. Exit 1: nothing matches, or not all can be sent."
    )(guarded(replay.admitted))
    app.add_typer(again, name="replay")
    quotas = typer.Typer(no_args_is_help=True, help="What collectors may send: overrides of the settings, without a restart.")
    quotas.command("set", help="Set what a collector, or all that a pattern fits, may send; replaces what NAME had.")(
        guarded(quota.set_)
    )
    quotas.command("list", help="All that are set, in the order in which they count. Exit 1: one cannot be used.")(
        guarded(quota.list_)
    )
    quotas.command("unset", help="Take back what was set under a name. Exit 1: nothing was.")(guarded(quota.unset))
    app.add_typer(quotas, name="quota")
    return app


def main() -> None:
    """Entry point of the console script."""
    build_app()()
