"""`pganalytics setup`: topics and store, as they must be."""

from typing import Annotated

import typer

from pganalytics.cli.shell import ConfigOption, VerboseOption, load, say
from pganalytics.runtime.errors import ProblemFound
from pganalytics.runtime.kafka import make_topics, topic_problems
from pganalytics.schemas.topics import Topics
from pganalytics.sink.store import set_up


def run(
    config: ConfigOption = None,
    *,
    print_only: Annotated[bool, typer.Option("--print", help="Print the topics that are needed and change nothing.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Make what is missing; say what is there but wrong."""
    settings = load(config, verbose=verbose)
    table = Topics(settings.kafka.prefix, settings.kafka.partitions).table()
    if print_only:
        for topic in table:
            options = " ".join(f"--config {name}={value}" for name, value in topic.config.items())
            least = f"--config min.insync.replicas={settings.kafka.min_insync_replicas}"
            print(
                f"kafka-topics.sh --bootstrap-server {settings.kafka.bootstrap} --create --topic {topic.name} "
                f"--partitions {topic.partitions} --replication-factor {settings.kafka.replication_factor} {options} {least}"
            )
        return
    made = make_topics(settings.kafka, table)
    say(f"topics: {len(made)} made, {len(table) - len(made)} were there")
    for line in set_up(settings):
        say(f"store: {line}")
    if problems := topic_problems(settings.kafka, table):
        raise ProblemFound("\n".join(problems))
