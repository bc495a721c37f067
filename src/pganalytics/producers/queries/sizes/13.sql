-- Sizes on disk of the tables, toast tables and indexes of users, and of the whole database.
-- scope: database
-- interval: 1800 s
-- timeout: 60 s
-- privilege: none
-- server: 13
-- Asks the file system about each file: a few microseconds each. A size opens its relation, so what is locked in ACCESS EXCLUSIVE
-- mode in this database, or is about to be, is skipped; a lock that is taken in between ends the reading after lock_timeout.
-- By the statistics of a catalogue that nobody has analyzed since it grew, no OID is above 16383, and the plan would compare all
-- relations with all others: as bigint, OIDs have no statistics.
-- `next_xid` and `next_multixact` as 32-bit numbers, as the catalogue has them.
-- context
select
    pg_catalog.pg_database_size(pg_catalog.current_database()) as database_size,
    (pg_catalog.age('3'::xid)::bigint + 3 + 4294967296) % 4294967296 as next_xid,
    (pg_catalog.mxid_age('1'::xid)::bigint + 1 + 4294967296) % 4294967296 as next_multixact;
-- rows
with locked as materialized (
    select distinct l.relation
    from pg_catalog.pg_locks l
    where l.locktype = 'relation'
        and l.mode = 'AccessExclusiveLock'
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
),
files as materialized (
    select
        c.oid,
        c.relkind,
        c.relnamespace,
        c.reltoastrelid,
        c.relfrozenxid,
        c.relminmxid,
        i.indrelid,
        k.relation is not null as locked,
        case when k.relation is null then
            pg_catalog.pg_relation_size(c.oid, 'main')
            + pg_catalog.pg_relation_size(c.oid, 'fsm')
            + case when c.relkind <> 'i' then pg_catalog.pg_relation_size(c.oid, 'vm') else 0 end
            + case when c.relpersistence = 'u' then pg_catalog.pg_relation_size(c.oid, 'init') else 0 end
        end as bytes
    from pg_catalog.pg_class c
    left join pg_catalog.pg_index i on i.indexrelid = c.oid
    left join locked k on k.relation = c.oid
    where c.oid::bigint >= 16384
        and c.relkind in ('r', 'm', 't', 'i')
        and c.relpersistence <> 't'
        and c.relnamespace <> all (array(
            select n.oid from pg_catalog.pg_namespace n where n.nspname in ('pg_catalog', 'information_schema')))
),
indexes as materialized (
    select f.indrelid, pg_catalog.sum(f.bytes)::bigint as bytes, pg_catalog.bool_or(f.locked) as locked
    from files f
    where f.relkind = 'i'
    group by f.indrelid
)
select
    f.oid::bigint as relid,
    f.bytes,
    case when f.reltoastrelid = 0 then 0 when not i.locked then t.bytes + i.bytes end as toast_bytes,
    case when x.indrelid is null then 0 when not x.locked then x.bytes end as indexes_bytes,
    f.locked or coalesce(t.locked, false) or coalesce(i.locked, false) or coalesce(x.locked, false) as skipped_locked,
    case when f.relkind <> 'i' then f.relfrozenxid::text::bigint end as frozen_xid,
    case when f.relkind <> 'i' then f.relminmxid::text::bigint end as min_multixact,
    t.relfrozenxid::text::bigint as toast_frozen_xid,
    t.relminmxid::text::bigint as toast_min_multixact
from files f
left join files t on t.oid = f.reltoastrelid
left join indexes i on i.indrelid = f.reltoastrelid
left join indexes x on x.indrelid = f.oid
where f.relkind in ('r', 'm') or (f.relkind = 'i' and f.relnamespace <> 'pg_toast'::regnamespace);
