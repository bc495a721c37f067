"""`pganalytics demo`: real servers, real services, a workload; then drain, count, and say what to type next."""

import json
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pganalytics.cli.audit import audit_table
from pganalytics.cli.demo.breaks import Breakable, Breaker, plan_breaks
from pganalytics.cli.demo.outcome import Outcome, measure
from pganalytics.cli.demo.screen import Screen
from pganalytics.cli.demo.servers import DemoServers, start_servers
from pganalytics.cli.demo.services import DemoServices, write_settings
from pganalytics.cli.demo.tail import COLLECTED, TopicTail
from pganalytics.cli.demo.targets import TargetTender
from pganalytics.cli.demo.watch import STORED, Watch
from pganalytics.cli.demo.workload import start_workload
from pganalytics.cli.shell import JsonOption, VerboseOption, result_console, say
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.errors import Crash, ProblemFound, SettingsError
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import set_up_logging
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import BOOTSTRAP_VARIABLE, environment, load_settings
from pganalytics.sink.deep_audit import deep_audit

LOOK_EVERY_S = 1.0
DRAIN_S = 90.0
REVIVE_S = 15.0
STOP_S = 30.0


@dataclass(frozen=True)
class Plan:
    """What was asked for. Without `seconds` the demo runs until Ctrl-C."""

    seconds: float | None
    targets: int
    databases: int
    breaks: list[tuple[float, Breakable]]


def run(
    *,
    seconds: Annotated[float | None, typer.Option(min=5, help="Stop after so many seconds; default: at Ctrl-C.")] = None,
    targets: Annotated[int, typer.Option(min=2, max=20, help="Servers to watch.")] = 2,
    databases: Annotated[int, typer.Option(min=1, max=100, help="Databases of each.")] = 3,
    breaks: Annotated[
        Breakable | None, typer.Option("--break", help="Kill it in mid-run (SIGKILL), back after 6 s; all: one after the other.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Work in this empty folder and leave settings and logs there.")] = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 0 only if the deep audit holds: nothing missing, nothing double, everything drained."""
    began_us = time.time_ns() // 1000
    plan = Plan(seconds, targets, databases, plan_breaks(breaks, seconds))
    bootstrap = environment(BOOTSTRAP_VARIABLE)
    if bootstrap and any(part is Breakable.KAFKA for _, part in plan.breaks):
        raise SettingsError(f"--break {breaks}: the broker at {bootstrap} is not the demo's to kill: unset {BOOTSTRAP_VARIABLE}")
    set_up_logging(level="debug" if verbose else "error", as_json=False)
    lifecycle = Lifecycle()
    lifecycle.install_signals()
    with ExitStack() as stack:
        folder = _folder(keep, stack)
        screen = stack.enter_context(Screen())
        outcome = _demo(folder, plan, screen, lifecycle, stack, began_us)
    print(json.dumps(outcome.as_json())) if json_output else _print(outcome, keep)
    sys.stdout.flush()
    if not outcome.ok:
        raise ProblemFound("the audit does not hold: " + "; ".join(outcome.problems))


def _folder(keep: Path | None, stack: ExitStack) -> Path:
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="pganalytics-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder
    if keep.exists() and any(keep.iterdir()):
        raise SettingsError(f"{keep} is not empty: name an empty or a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _demo(folder: Path, plan: Plan, screen: Screen, lifecycle: Lifecycle, stack: ExitStack, began_us: int) -> Outcome:
    bootstrap = environment(BOOTSTRAP_VARIABLE)
    screen.tell(f"starting Kafka, the store and {plan.targets} PostgreSQL servers to watch")
    servers = start_servers(
        folder,
        stack,
        targets=plan.targets,
        databases=plan.databases,
        bootstrap=bootstrap,
        tell=screen.tell,
    )
    config = write_settings(folder, servers, prefix=f"demo-{secrets.token_hex(3)}")
    settings = load_settings(config)
    services = DemoServices(folder, config)
    stack.callback(services.stop_all, timeout_s=STOP_S)
    workload = Lifecycle()
    stack.callback(_end, workload)
    for target in servers.targets:
        start_workload(target, workload)
    services.run("setup", timeout_s=60)
    services.start()
    for line in services.describe():
        screen.tell(line)
    watching = Lifecycle()
    stack.callback(_end, watching)
    tail = TopicTail(settings)
    tail.start(watching)
    breaker = build_breaker(plan.breaks, services, servers, screen.tell)
    tender = TargetTender(servers.targets)
    _watch(plan, services, tender, Watch(settings, tail), breaker, screen, lifecycle, (workload, watching))
    _end(workload)
    _drain(settings, services, screen)
    return measure(settings, servers, began_us=began_us, breaks=breaker.done)


def build_breaker(
    plan: list[tuple[float, Breakable]], services: DemoServices, servers: DemoServers, tell: Callable[[str], None]
) -> Breaker:
    """Kills processes of services, and servers."""
    kill: dict[Breakable, Callable[[], None]] = {Breakable.STORE: servers.store.kill}
    start: dict[Breakable, Callable[[], None]] = {Breakable.STORE: servers.store.start_again}
    if isinstance(servers.broker, KafkaBroker):
        kill[Breakable.KAFKA], start[Breakable.KAFKA] = servers.broker.kill, servers.broker.start_again
    for part in (Breakable.STREAMS, Breakable.SINK, Breakable.COLLECT):
        kill[part], start[part] = partial(services.kill, part), partial(services.start_again, part)
    return Breaker(plan, kill=kill, start=start, tell=tell)


def _watch(
    plan: Plan,
    services: DemoServices,
    tender: TargetTender,
    watch: Watch,
    breaker: Breaker,
    screen: Screen,
    lifecycle: Lifecycle,
    helpers: tuple[Lifecycle, ...],
) -> None:
    """Until the time is over and all that was planned has been killed and has recovered, or a stop is asked for."""
    began = time.monotonic()
    screen.start_live()
    sample = watch.sample()
    while not lifecycle.stopping:
        passed = time.monotonic() - began
        if plan.seconds is not None and passed >= plan.seconds and breaker.may_end(passed):
            break
        breaker.step(passed, collected=sample.records.get(COLLECTED, 0), stored=sample.records.get(STORED, 0))
        for line in [*services.tend(down=breaker.down), *tender.tend(time.monotonic(), sample.down)]:
            screen.tell(line)
        for helper in helpers:
            if helper.failure is not None:
                raise Crash(helper.reason) from helper.failure
        sample = watch.sample()
        screen.show(sample, down=breaker.down)
        lifecycle.stop.wait(LOOK_EVERY_S)
    screen.stop_live()
    breaker.finish(time.monotonic() - began)


def _drain(settings: Settings, services: DemoServices, screen: Screen) -> None:
    """Stop at the source, let the rest finish, then stop the rest."""
    screen.tell("draining: the agent stops first, with final heartbeats")
    services.revive(REVIVE_S)
    services.stop("collect", timeout_s=STOP_S)
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline and not deep_audit(settings).total.settled:
        for line in services.tend():
            screen.tell(line)
        time.sleep(LOOK_EVERY_S / 2)
    for name in ("streams", "sink"):
        services.stop(name, timeout_s=STOP_S)


def _end(lifecycle: Lifecycle) -> None:
    lifecycle.request_stop("the demo ends")
    lifecycle.join_all(time.monotonic() + 10)


def _print(outcome: Outcome, keep: Path | None) -> None:
    console = result_console()
    console.print(audit_table(outcome.report))
    console.print(Text(outcome.summary()), soft_wrap=True)
    if keep:
        say(f"settings and logs are in {keep}")
    else:
        say('next: make demo ARGS="--break all"    kills every part in turn; or one of kafka store streams sink collect')
        say('      make demo ARGS="--keep DIR"      leaves settings and logs to read')
        say("      docs/architecture.md             tells the life of one record")
