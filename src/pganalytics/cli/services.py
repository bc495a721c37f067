"""`pganalytics collect`, `streams` and `sink`: one service each, until SIGTERM or Ctrl-C."""

from collections.abc import Callable
from functools import partial

from pganalytics.cli.shell import ConfigOption, VerboseOption, load
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import settings_path

Service = Callable[[Settings, Lifecycle], None]


def collect(config: ConfigOption = None, *, verbose: VerboseOption = False) -> None:
    """The agent."""
    from pganalytics.producers.agent import run  # noqa: PLC0415 - a service loads its own clients only

    _serve(run, load(config, verbose=verbose))


def streams(config: ConfigOption = None, *, verbose: VerboseOption = False) -> None:
    """The stream processors."""
    from pganalytics.streams.service import run  # noqa: PLC0415 - a service loads its own clients only

    _serve(partial(run, config=settings_path(config)), load(config, verbose=verbose))


def sink(config: ConfigOption = None, *, verbose: VerboseOption = False) -> None:
    """The writer of the store."""
    from pganalytics.sink.service import run  # noqa: PLC0415 - a service loads its own clients only

    _serve(run, load(config, verbose=verbose))


def _serve(run: Service, settings: Settings) -> None:
    lifecycle = Lifecycle()
    lifecycle.install_signals()
    run(settings, lifecycle)
