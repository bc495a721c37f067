"""The agent: one `pganalytics collect` process. Builds the parts, starts their threads, ends them in order.

Threads: scheduler, worker-N, knocks, heartbeats, control, sender, spool, http, and those of each connection pool.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from pganalytics.producers.answers import Questions
from pganalytics.producers.beats import Beats, agent_id
from pganalytics.producers.collectors import Job
from pganalytics.producers.control import Controls
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.epochs import EpochEnded
from pganalytics.producers.group_commit import Refused, SpoolClosed
from pganalytics.producers.health import Signs, alive, ready
from pganalytics.producers.knocks import Knocks
from pganalytics.producers.listening import Listening
from pganalytics.producers.membership import Changes, Membership, by_collector, hand_over
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.plan import Plan, make_plan
from pganalytics.producers.pools import Pools
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.reload import Reload
from pganalytics.producers.runner import Runner
from pganalytics.producers.sender import Sender
from pganalytics.producers.spool import Spool
from pganalytics.producers.workers import Workers
from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.endpoint import serving
from pganalytics.runtime.errors import Crash, PgAnalyticsError, SettingsError, Unreachable
from pganalytics.runtime.health import Health, Problems
from pganalytics.runtime.kafka import producer_config, topic_problems
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_watch import SettingsWatch
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics

logger = logging.getLogger(__name__)
MESSAGE_TIMEOUT_MS = 60_000


def run(settings: Settings, lifecycle: Lifecycle, *, config: Path | None = None) -> None:
    """Collect until the lifecycle stops and everything is down. Raises SettingsError, Unreachable, Crash.

    `config` is watched for other targets.
    """
    watch = SettingsWatch(config) if config is not None else None
    plan = make_plan(settings, socket.gethostname())
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    producer = _producer(settings)
    collect = settings.collect
    spool = Spool.open(
        collect.state_dir, limit_bytes=collect.spool_limit_bytes, soft_limit=collect.spool_soft_limit, spawn=lifecycle.spawn
    )
    try:
        if problems := topic_problems(settings.kafka, topics.table()):
            raise Unreachable("\n".join(problems))
        measurements = build_measurements(Service.COLLECT)
        meters = Meters(measurements)
        built: list[Agent] = []
        health = health_of(built)
        meters.show_health(health)
        with serving(measurements, lifecycle, collect, section="collect", health=health):
            agent = build_agent(settings, lifecycle, plan, spool, Sender(spool, topics, producer, meters), meters)
            built.append(agent)
            reload = Reload(watch, settings, plan, agent, meters)
            agent.start()
            lifecycle.wait(lambda: reload.turn(time.monotonic(), at_once=lifecycle.take_hangup()))
            agent.stop()
    except Refused as error:
        raise Unreachable(f"spool in {collect.state_dir}: the disk is full ({error}): make room, then start again") from error
    except SpoolClosed as error:
        raise Crash(lifecycle.reason or str(error)) from (lifecycle.failure or error)
    finally:
        spool.close()
    if isinstance(lifecycle.failure, PgAnalyticsError):
        raise lifecycle.failure
    if lifecycle.failure is not None:
        raise Crash(lifecycle.reason) from lifecycle.failure


def _producer(settings: Settings) -> Producer:
    sizes = {"message_max_bytes": MAX_MESSAGE_BYTES, "message_timeout_ms": MESSAGE_TIMEOUT_MS}
    try:
        return Producer(producer_config(settings.kafka, name="collect", **sizes))
    except KafkaException as error:
        raise SettingsError(f"kafka: the client refuses its settings: {error.args[0].str()}") from error


@dataclass(slots=True)
class Agent:
    """The parts that have threads, and the collectors."""

    settings: Settings
    lifecycle: Lifecycle
    spool: Spool
    pools: Pools
    sender: Sender
    dispatch: Dispatch
    beats: Beats
    controls: Controls
    members: Membership
    settings_refused: bool = False
    threads: dict[str, threading.Thread] = field(default_factory=dict)

    def start(self) -> None:
        """Start all threads."""
        self.threads["sender"] = self.lifecycle.spawn("sender", self.sender.run)
        self.threads["heartbeats"] = self.lifecycle.spawn("heartbeats", lambda: self.beats.run(self.lifecycle))
        self.dispatch.start(self.lifecycle)
        if self.settings.collect.control:
            self.lifecycle.spawn("control", self._listen)
        facts = {
            "collectors": len(self.members.epochs),
            "workers": self.settings.collect.workers,
            "spool_records": self.spool.usage[0],
        }
        logger.info("collecting", extra=facts)

    def _listen(self) -> None:
        kafka = self.settings.kafka
        reader = CompactedReader(kafka, Topics(kafka.prefix, kafka.partitions).control, name="collect-control")
        Listening(reader, self.controls).run(self.lifecycle)

    def take(self, jobs: Sequence[Job]) -> Changes:
        """Other jobs from now on. Who comes begins as at the start. Who changes or goes ends what it reads, or gives it up after
        a while; who changes begins anew then, in the same epoch. The others notice nothing.

        Raises Refused, and nothing has changed then.
        """
        changes = self.members.take(jobs, self.beats.open_epochs())
        self.follow()
        patience_s = self.settings.collect.stop_timeout_s / 4
        for collector in changes.changed | changes.ended:
            self.pools.give_up(collector, time.monotonic() + patience_s)
        all_jobs = by_collector(jobs)
        self.dispatch.change({one: all_jobs.get(one, []) for one in changes.begun | changes.changed | changes.ended})
        return changes

    def follow(self) -> None:
        """Tell the other parts who the members are."""
        self.controls.follow(self.members.epochs)
        self.beats.follow(self.members.pulsing())

    def signs(self) -> Signs:
        """What health is judged by. Any thread."""
        named = [state.seen()[0] for one, state in dict(self.members.states).items() if one in self.members.named]
        return Signs(
            scheduler_at=self.dispatch.turned_at,
            heartbeats_at=self.beats.turned_at,
            sender_at=self.sender.turned_at,
            spool_busy_since=self.spool.busy_since,
            jobs_ended_at=self.dispatch.ended_at,
            jobs_open=self.dispatch.open_jobs,
            longest_job_s=self.members.longest_job_s,
            flying_since=self.sender.flying_since,
            untaken_since=self.sender.untaken_since,
            read_targets=sum(last.reading_at_us is not None for last in named),
            targets=len(named),
            refusal=self.spool.refusal(Lane.CRITICAL),
            settings_refused=self.settings_refused,
        )

    def stop(self) -> None:
        """End in order, all before one deadline: readings, what they spooled, final heartbeats, the sender."""
        ends_at = time.monotonic() + self.settings.collect.stop_timeout_s
        logger.info("stopping", extra={"reason": self.lifecycle.reason})
        if self.lifecycle.failure is None:
            self._finish(ends_at)
        self.sender.finish()
        self._join("sender", ends_at)
        self.pools.close()
        self.spool.close(max(1.0, ends_at - time.monotonic()))
        if late := self.lifecycle.join_all(ends_at):
            logger.warning("threads did not end in time", extra={"threads": ",".join(late)})

    def _finish(self, ends_at: float) -> None:
        """Send what is spooled, then say of each collector that nothing will follow. What Kafka does not take in time stays."""
        half = ends_at - self.settings.collect.stop_timeout_s / 2
        self.dispatch.join(half)
        self._join("heartbeats", half)
        own = self.beats.open_epochs()
        self._until_sent(own, half)
        for collector, epoch in own - self.spool.unsent_epochs():
            self._last_beat(collector, epoch)
        self._until_sent(own, ends_at - 1.0)

    def _join(self, name: str, deadline: float) -> None:
        """Whoever uses the spool ends before it is closed."""
        self.threads[name].join(max(0.0, deadline - time.monotonic()))

    def _last_beat(self, collector: str, epoch: int) -> None:
        try:
            self.beats.make_last(collector).result()
        except (EpochEnded, Refused):
            logger.info("no final heartbeat", extra={"collector": collector, "epoch": epoch})

    def _until_sent(self, own: set[tuple[str, int]], deadline: float) -> None:
        while own & self.spool.unsent_epochs() and time.monotonic() < deadline and self.lifecycle.failure is None:
            time.sleep(0.05)


def health_of(built: Sequence[Agent]) -> Health:
    """What the endpoint asks. It listens before the agent is built: a port that is taken must not cost an epoch."""

    def judged(judge: Callable[[Signs, float], Problems], before: Problems) -> Problems:
        return judge(built[0].signs(), time.monotonic()) if built else before

    return Health(lambda: judged(alive, []), lambda: judged(ready, ["starting"]))


def build_agent(settings: Settings, lifecycle: Lifecycle, plan: Plan, spool: Spool, sender: Sender, meters: Meters) -> Agent:
    """Put the parts together and begin an epoch for each collector, also for those that only the spool knows."""
    collect = settings.collect
    members = Membership(spool, plan.jobs)
    states = members.states
    sender.count = lambda collector, what: states[collector].count(what)
    pools = Pools(collect.connections, collect.connect_timeout_s, StopClock(lifecycle, collect.stop_timeout_s / 4).stop_at)
    meters.read_at_scrape(spool, pools, states, lambda: members.named)
    controls = Controls(states, collect.most_stretch)
    meters.read_controls(controls, lambda: members.named)
    redaction = Redaction(collect.redact)
    runner = Runner(Questions(pools, plan.catalogue, redaction), spool, members.epochs, states, redaction)
    agent = Agent(
        settings=settings,
        lifecycle=lifecycle,
        spool=spool,
        pools=pools,
        sender=sender,
        dispatch=Dispatch(
            plan.jobs,
            Workers(collect.workers),
            Pauses(collect.retry_max_s),
            runner,
            Knocks(collect.connect_timeout_s),
            states,
            meters,
            controls,
            partial(hand_over, members, pools, runner, meters),
        ),
        beats=Beats(spool, plan.schemas[HEARTBEAT], agent_id(os.getpid()), states, pools.numbers, meters, controls),
        controls=controls,
        members=members,
    )
    agent.follow()
    return agent


class StopClock:
    """When running queries are given up: some time after the stop was asked for."""

    def __init__(self, lifecycle: Lifecycle, grace_s: float) -> None:
        self._lifecycle = lifecycle
        self._grace_s = grace_s
        self._stop_at: float | None = None

    def stop_at(self) -> float:
        """time.monotonic seconds; infinite while nobody stops."""
        if not self._lifecycle.stopping:
            return float("inf")
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._grace_s
        return self._stop_at
