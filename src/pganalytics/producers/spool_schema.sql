-- The spool, format 2. One connection of one process has it, exclusively.
create table meta (spool_id text not null) strict;

-- One start of a collector in an agent. `emitted_*`: highest seq given. `ended`: no record will be added. `listed`: in how many
-- heartbeats it was named, for the rotation. The row goes when a heartbeat that calls it final is acknowledged.
create table epochs (
    collector text not null,
    epoch integer not null,
    emitted_critical integer not null default 0,
    emitted_normal integer not null default 0,
    emitted_bulk integer not null default 0,
    ended integer not null default 0,
    listed integer not null default 0,
    primary key (collector, epoch)
) strict, without rowid;

-- What Kafka has not acknowledged. Ids are never used twice: the sender knows what is under way by them.
-- `head` is the body's beginning with the identity, `rest` the zstd-compressed remainder, `facts` a heartbeat's own headers.
-- `error`: why Kafka refused the body for good; the record is a stub then, and its body is gone.
create table records (
    id integer primary key autoincrement,
    collector text not null,
    epoch integer not null,
    lane text not null,
    seq integer not null,
    metric text not null,
    schema text not null,
    rows integer not null,
    size integer not null,
    collected_at integer not null,
    head blob not null,
    rest blob not null,
    facts text,
    error text,
    unique (collector, epoch, lane, seq)
) strict;
create index records_by_lane on records (lane, id);
create index heartbeats on records (collector) where facts is not null;

create table schemas (id text primary key, text text not null) strict, without rowid;

-- A log per (collector, metric, database): number 1 is a full reading, the following ones what changed.
create table baselines (
    collector text not null,
    metric text not null,
    database text not null,
    number integer not null,
    body blob not null,
    primary key (collector, metric, database, number)
) strict;

-- One row: what `records` holds, kept by the transactions that change it.
create table usage (records integer not null, bytes integer not null) strict;
insert into usage values (0, 0);
