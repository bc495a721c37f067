-- The store: who was stored, how far each topic was read, what was noticed, and where the metrics' tables live.
-- scope: store; privilege: create on the database; first server version: 14

create schema metrics;
comment on schema metrics is 'One table per metric, one row per record; a view per group of rows.';
create schema metrics_daily;
comment on schema metrics_daily is 'The daily partitions of the tables in schema metrics.';

create table pganalytics.installation (
    only_one boolean primary key default true check (only_one),
    prefix text not null,
    partitions integer not null check (partitions > 0)
);
comment on table pganalytics.installation is 'Which topics fill this store. Another prefix or partition count needs another store.';

create table pganalytics.positions (
    topic text collate "C" not null,
    partition integer not null,
    next_offset bigint not null check (next_offset >= 0),
    primary key (topic, partition)
) with (fillfactor = 50);
comment on table pganalytics.positions is 'The next offset to read; moved by the transaction that writes the records before it.';

create table pganalytics.ledger (
    collector text collate "C" not null,
    epoch bigint not null,
    lane text collate "C" not null,
    stored int8multirange not null default '{}',
    dead int8multirange not null default '{}',
    shed int8multirange not null default '{}',
    missing int8multirange not null default '{}',
    deferred int8multirange not null default '{}',
    sent int8multirange not null default '{}',
    emitted bigint not null default 0,
    primary key (collector, epoch, lane)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.1);
comment on table pganalytics.ledger is 'What became of seq 1..emitted of each stream. Precedence: stored, dead, shed, missing, deferred; no seq is in two of them.';
comment on column pganalytics.ledger.sent is 'What heartbeats say that Kafka has acknowledged: a union over all heartbeats.';
comment on column pganalytics.ledger.emitted is 'Highest seq that a heartbeat named or that was seen.';

create table pganalytics.epochs (
    collector text collate "C" not null,
    epoch bigint not null,
    spool_id text,
    heartbeat_at timestamptz,
    final boolean not null default false,
    primary key (collector, epoch)
);
comment on table pganalytics.epochs is 'Starts of collectors as their heartbeats tell of them; final: nothing of it is unsent and nothing will follow.';
comment on column pganalytics.epochs.heartbeat_at is 'collected_at of the newest heartbeat that named this epoch.';

create table pganalytics.events (
    id text collate "C" primary key,
    kind text not null,
    source text not null,
    at timestamptz not null,
    collector text collate "C" not null,
    epoch bigint not null,
    lane text collate "C",
    seqs int8multirange not null,
    topic text not null,
    partition bigint not null,
    "offset" bigint not null,
    detail text not null
);
create index events_collector_at on pganalytics.events (collector, at);
create index events_at on pganalytics.events (at);
comment on table pganalytics.events is 'What streams and sink noticed, once each.';

create table pganalytics.dead_letters (
    topic text collate "C" not null,
    partition integer not null,
    "offset" bigint not null,
    at timestamptz not null,
    collector text collate "C",
    epoch bigint,
    lane text collate "C",
    seq bigint,
    metric text,
    reason text not null,
    detail text not null,
    primary key (topic, partition, "offset")
);
create index dead_letters_at on pganalytics.dead_letters (at);
comment on table pganalytics.dead_letters is 'Records that cannot be stored; their bytes are in the dead-letter topic. Identity NULL: it cannot be trusted.';

create table pganalytics.schemas (
    id text primary key,
    metric text not null,
    number integer not null,
    text text not null,
    unique (metric, number)
);
comment on table pganalytics.schemas is 'The record schemas that the tables in schema metrics are made from, in the order in which they were met.';

create table pganalytics.rows_dropped (
    metric text not null,
    collector text collate "C" not null,
    epoch bigint not null,
    lane text collate "C" not null,
    rows bigint not null,
    primary key (metric, collector, epoch, lane)
);
comment on table pganalytics.rows_dropped is 'Rows that retention removed. Rows in the tables plus these are the ledger''s stored.';
