-- Sequences with their limits and last values.
-- scope: database
-- interval: 3600 s
-- timeout: 30 s
-- privilege: none (without SELECT or USAGE on a sequence its last value is hidden, which its row says)
-- server: 13
-- Reads one page of each sequence that it may read, under a lock (ROW EXCLUSIVE): what is locked so that this would wait, or is
-- about to be, is skipped; a lock that is taken in between ends the reading after lock_timeout. Unlogged sequences of a standby
-- have no value.
-- rows
with locked as materialized (
    select distinct l.relation
    from pg_catalog.pg_locks l
    where l.locktype = 'relation'
        and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
),
found as materialized (
    select
        s.*,
        coalesce(d.refobjid, 0) as owner_relid,
        coalesce(a.attname::text, '') as owner_column,
        case when s.seqincrement > 0
            then least(s.seqmax, case a.atttypid when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647 end)
            else greatest(s.seqmin, case a.atttypid when 'int2'::regtype then -32768 when 'int4'::regtype then -2147483648 end)
        end as limit_value,
        coalesce(pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT, USAGE'), false) as readable,
        k.relation is not null as locked,
        c.relpersistence = 'u' and pg_catalog.pg_is_in_recovery() as empty
    from pg_catalog.pg_sequence s
    join pg_catalog.pg_class c on c.oid = s.seqrelid
    left join pg_catalog.pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.seqrelid and d.objsubid = 0
        and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
    left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    left join locked k on k.relation = s.seqrelid
    where c.relpersistence <> 't'
        and c.relnamespace <> all (array(
            select n.oid from pg_catalog.pg_namespace n where n.nspname in ('pg_catalog', 'information_schema')))
),
valued as materialized (
    select f.*, case when f.readable and not f.locked and not f.empty then pg_catalog.pg_sequence_last_value(f.seqrelid) end as last_value
    from found f
)
select
    v.seqrelid::bigint as relid,
    pg_catalog.format_type(v.seqtypid, null) as data_type,
    v.seqstart as start_value,
    v.seqmin as min_value,
    v.seqmax as max_value,
    v.seqincrement as increment,
    v.seqcycle as cycles,
    v.seqcache as cache_size,
    v.owner_relid::bigint as owner_relid,
    v.owner_column,
    v.limit_value,
    v.last_value,
    case
        when not v.readable or v.locked or v.empty then null
        when v.last_value is null then 0
        when v.seqincrement > 0
            then (v.last_value::float8 - v.seqmin::float8 + 1) / nullif(v.limit_value::float8 - v.seqmin::float8 + 1, 0)
        else (v.seqmax::float8 - v.last_value::float8 + 1) / nullif(v.seqmax::float8 - v.limit_value::float8 + 1, 0)
    end as used,
    v.readable,
    v.locked as skipped_locked
from valued v;
