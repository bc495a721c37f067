"""A workload that changes: in every database of every target, until stopped."""

import random
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass

import psycopg

from pganalytics.cli.demo.servers import DemoTarget
from pganalytics.runtime.lifecycle import Lifecycle

ROUND_S = 0.5
AWAY_S = 1.0
KINDS = 300
"""Statements of so many different shapes appear over time: each has a queryid of its own."""
SCHEMA = """
create table if not exists customers (id int primary key, name text not null, city text not null);
create table if not exists orders (
    id bigserial primary key, customer int not null, amount numeric not null, at timestamptz not null
);
insert into customers select n, 'customer ' || n, 'city ' || n % 17 from generate_series(1, 500) n on conflict do nothing;
"""


@dataclass(frozen=True)
class Statement:
    """One kind of statement; `slow` ones become frequent now and then."""

    text: str
    slow: bool = False


STATEMENTS = (
    Statement("select name, city from customers where id = 1 + (random() * 499)::int"),
    Statement("insert into orders (customer, amount, at) select 1 + (random() * 499)::int, random() * 100, now()"),
    Statement("update customers set name = name where id = 1 + (random() * 499)::int"),
    Statement("select city, count(*) from customers group by city order by 2 desc"),
    Statement("select c.city, sum(o.amount) from orders o join customers c on c.id = o.customer group by c.city", slow=True),
    Statement("select count(*) from generate_series(1, 20000) n where n % 7 = 0", slow=True),
    Statement("delete from orders where id in (select id from orders order by id limit 5)"),
)


def start_workload(target: DemoTarget, lifecycle: Lifecycle) -> None:
    """One thread per target, which ends with the lifecycle."""
    lifecycle.spawn(f"workload-{target.name}", lambda: _work(target, lifecycle))


def _work(target: DemoTarget, lifecycle: Lifecycle) -> None:
    """A server that goes away does without it, and has it again when it is back."""
    chance = random.Random(target.name)  # noqa: S311 - a workload, not a secret
    while not lifecycle.stopping:
        try:
            _work_connected(target, chance, lifecycle)
        except psycopg.OperationalError:
            lifecycle.stop.wait(AWAY_S)


def _work_connected(target: DemoTarget, chance: random.Random, lifecycle: Lifecycle) -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(psycopg.connect(target.server.conninfo(name), autocommit=True)))
            for name in target.databases
        ]
        for connection in connections:
            connection.execute(SCHEMA)
        while not lifecycle.stopping:
            began = time.monotonic()
            for connection in connections:
                _round(connection, chance, busy=int(began) % 30 < 10)
            lifecycle.stop.wait(max(0.0, ROUND_S - (time.monotonic() - began)))


def _round(connection: psycopg.Connection[tuple[object, ...]], chance: random.Random, *, busy: bool) -> None:
    """A few of the usual statements; in a busy spell more slow ones; now and then one never seen before."""
    with connection.transaction():
        for statement in chance.choices(STATEMENTS, weights=[3 if one.slow == busy else 1 for one in STATEMENTS], k=6):
            connection.execute(statement.text.encode())
        if chance.random() < 0.2:
            connection.execute(b"select max(id" + b" + 1" * chance.randint(1, KINDS) + b") from customers")
