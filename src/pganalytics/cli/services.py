"""`pganalytics collect`, `streams` and `sink`: one service each, until SIGTERM or Ctrl-C."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pganalytics.cli.shell import ConfigOption, VerboseOption, load
from pganalytics.runtime.crew import Crew, Order, ports_of
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.garbage import look_rarely
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import settings_path

HTTP_PORT = "PGANALYTICS_STREAMS__HTTP_PORT"

Service = Callable[[Settings, Lifecycle], None]


def collect(config: ConfigOption = None, *, verbose: VerboseOption = False) -> None:
    """The agent."""
    from pganalytics.producers.agent import run  # noqa: PLC0415 - a service loads its own clients only

    look_rarely()
    _serve(partial(run, config=settings_path(config)), load(config, verbose=verbose), hangup=True)


def streams(
    config: ConfigOption = None,
    *,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Run so many processes, and start again whichever ends; worker 0 has streams.http_port, worker 1 the next... "
            "Default: this process alone.",
            show_default=False,
        ),
    ] = None,
    verbose: VerboseOption = False,
) -> None:
    """The stream processors."""
    if workers is not None:
        settings = load(config, verbose=verbose)
        crew = Crew(
            stream_workers(settings, workers, config=config, verbose=verbose), stop_timeout_s=settings.streams.stop_timeout_s
        )
        _serve(lambda _, lifecycle: crew.run(lifecycle), settings)
        return
    from pganalytics.streams.service import run  # noqa: PLC0415 - a service loads its own clients only

    _serve(partial(run, config=settings_path(config)), load(config, verbose=verbose))


def sink(config: ConfigOption = None, *, verbose: VerboseOption = False) -> None:
    """The writer of the store."""
    from pganalytics.sink.service import run  # noqa: PLC0415 - a service loads its own clients only

    _serve(run, load(config, verbose=verbose))


def stream_workers(settings: Settings, workers: int, *, config: Path | None, verbose: bool) -> list[Order]:
    """What each of the stream processors runs: this command without `--workers`. Raises SettingsError."""
    if workers > settings.kafka.partitions:
        raise SettingsError(
            f"--workers {workers}: kafka.partitions is {settings.kafka.partitions}, more workers have nothing to do"
        )
    options = [*(["--config", str(config)] if config else []), *(["--verbose"] if verbose else [])]
    command = [sys.executable, "-m", "pganalytics.cli", "streams", *options]
    ports = ports_of(settings.streams.http_port, workers)
    return [Order(number, command, {HTTP_PORT: str(port)}) for number, port in enumerate(ports)]


def _serve(run: Service, settings: Settings, *, hangup: bool = False) -> None:
    lifecycle = Lifecycle()
    lifecycle.install_signals(hangup=hangup)
    run(settings, lifecycle)
