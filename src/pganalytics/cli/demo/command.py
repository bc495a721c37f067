"""`pganalytics demo`: real servers, real services, a workload; then drain, count, and say what to type next."""

import json
import secrets
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pganalytics.cli.audit import audit_table
from pganalytics.cli.demo.outcome import Outcome, measure
from pganalytics.cli.demo.screen import Screen
from pganalytics.cli.demo.servers import start_servers
from pganalytics.cli.demo.services import DemoServices, write_settings
from pganalytics.cli.demo.tail import TopicTail
from pganalytics.cli.demo.watch import Watch
from pganalytics.cli.demo.workload import start_workload
from pganalytics.cli.shell import JsonOption, VerboseOption, result_console, say
from pganalytics.runtime.errors import Crash, ProblemFound, SettingsError
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import set_up_logging
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import BOOTSTRAP_VARIABLE, environment, load_settings
from pganalytics.sink.deep_audit import deep_audit

LOOK_EVERY_S = 1.0
BREAK_AFTER_S = 30.0
BACK_AFTER_S = 6.0
DRAIN_S = 90.0
STOP_S = 30.0


class Breakable(StrEnum):
    """What can be killed in mid-run."""

    SINK = "sink"
    STREAMS = "streams"


@dataclass(frozen=True)
class Plan:
    """What was asked for. Without `seconds` the demo runs until Ctrl-C."""

    seconds: float | None
    targets: int
    databases: int
    breaks: Breakable | None

    @property
    def break_at_s(self) -> float:
        """When to kill: in the middle of the run."""
        return self.seconds / 2 if self.seconds else BREAK_AFTER_S


def run(
    *,
    seconds: Annotated[float | None, typer.Option(min=5, help="Stop after so many seconds; default: at Ctrl-C.")] = None,
    targets: Annotated[int, typer.Option(min=2, max=20, help="Servers to watch.")] = 2,
    databases: Annotated[int, typer.Option(min=1, max=100, help="Databases of each.")] = 3,
    breaks: Annotated[Breakable | None, typer.Option("--break", help="Kill it in mid-run (SIGKILL), back after 6 s.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Work in this empty folder and leave settings and logs there.")] = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 0 only if the deep audit holds: nothing missing, nothing double, everything drained."""
    began_us = time.time_ns() // 1000
    set_up_logging(level="debug" if verbose else "error", as_json=False)
    lifecycle = Lifecycle()
    lifecycle.install_signals()
    with ExitStack() as stack:
        folder = _folder(keep, stack)
        screen = stack.enter_context(Screen())
        outcome = _demo(folder, Plan(seconds, targets, databases, breaks), screen, lifecycle, stack, began_us)
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
    screen.tell(f"starting Kafka, the store and {plan.targets} PostgreSQL servers to watch")
    servers = start_servers(
        folder,
        stack,
        targets=plan.targets,
        databases=plan.databases,
        bootstrap=environment(BOOTSTRAP_VARIABLE),
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
    _watch(plan, services, Watch(settings, tail), screen, lifecycle, (workload, watching))
    _end(workload)
    _drain(settings, services, screen)
    return measure(settings, servers, began_us=began_us)


def _watch(
    plan: Plan, services: DemoServices, watch: Watch, screen: Screen, lifecycle: Lifecycle, helpers: tuple[Lifecycle, ...]
) -> None:
    """Until the time is over or a stop is asked for; kills what is to be killed."""
    began, broken = time.monotonic(), False
    screen.start_live()
    while not lifecycle.stopping:
        passed = time.monotonic() - began
        if plan.seconds is not None and passed >= plan.seconds:
            break
        if plan.breaks and not broken and passed >= plan.break_at_s:
            broken = True
            services.kill(plan.breaks, back_after_s=BACK_AFTER_S)
            screen.tell(f"{plan.breaks} killed (SIGKILL), back in {BACK_AFTER_S:.0f} s")
        for line in services.tend():
            screen.tell(line)
        for helper in helpers:
            if helper.failure is not None:
                raise Crash(helper.reason) from helper.failure
        screen.show(watch.sample())
        lifecycle.stop.wait(LOOK_EVERY_S)
    screen.stop_live()


def _drain(settings: Settings, services: DemoServices, screen: Screen) -> None:
    """Stop at the source, let the rest finish, then stop the rest."""
    screen.tell("draining: the agent stops first, with final heartbeats")
    services.revive(BACK_AFTER_S + 5)
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
        say('next: make demo ARGS="--break sink"   kills the sink in mid-run')
        say('      make demo ARGS="--keep DIR"      leaves settings and logs to read')
        say("      docs/architecture.md             tells the life of one record")
