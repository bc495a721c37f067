-- All views of progress in one: a row per process that has any.
-- scope: instance
-- interval: 30 s
-- timeout: 5 s
-- privilege: pg_read_all_stats (without it other users' progress is hidden)
-- server: 14
-- rows
select
    p.pid::bigint as pid,
    p.kind,
    p.command,
    p.datid,
    p.datname,
    p.relid,
    p.phase,
    p.done,
    nullif(p.total, 0) as total,
    p.unit,
    (p.extra - '{pid,datid,datname,relid,phase,command}'::text[])::text as extra,
    a.usename::text as usename,
    a.application_name,
    a.backend_type,
    (extract(epoch from a.query_start) * 1000000)::bigint as started,
    (extract(epoch from pg_catalog.clock_timestamp() - a.query_start) * 1000000)::bigint as running
from (
    select
        v.pid,
        'vacuum' as kind,
        null::text as command,
        v.datid::bigint as datid,
        v.datname::text as datname,
        v.relid::bigint as relid,
        v.phase as phase,
        case when v.phase = 'vacuuming heap' then v.heap_blks_vacuumed else v.heap_blks_scanned end as done,
        v.heap_blks_total as total,
        'blocks' as unit,
        pg_catalog.to_jsonb(v) as extra
    from pg_catalog.pg_stat_progress_vacuum v
    union all
    select
        v.pid,
        'analyze' as kind,
        null::text as command,
        v.datid::bigint as datid,
        v.datname::text as datname,
        v.relid::bigint as relid,
        v.phase as phase,
        v.sample_blks_scanned as done,
        v.sample_blks_total as total,
        'blocks' as unit,
        pg_catalog.to_jsonb(v) as extra
    from pg_catalog.pg_stat_progress_analyze v
    union all
    select
        v.pid,
        'cluster' as kind,
        v.command as command,
        v.datid::bigint as datid,
        v.datname::text as datname,
        v.relid::bigint as relid,
        v.phase as phase,
        v.heap_blks_scanned as done,
        v.heap_blks_total as total,
        'blocks' as unit,
        pg_catalog.to_jsonb(v) as extra
    from pg_catalog.pg_stat_progress_cluster v
    union all
    select
        v.pid,
        'create_index' as kind,
        v.command as command,
        v.datid::bigint as datid,
        v.datname::text as datname,
        v.relid::bigint as relid,
        v.phase as phase,
        case
            when v.phase like 'waiting for %' then v.lockers_done
            when v.phase like '%loading tuples%' then v.tuples_done
            else v.blocks_done
        end as done,
        case
            when v.phase like 'waiting for %' then v.lockers_total
            when v.phase like '%loading tuples%' then v.tuples_total
            else v.blocks_total
        end as total,
        case
            when v.phase like 'waiting for %' then 'lockers'
            when v.phase like '%loading tuples%' then 'rows'
            else 'blocks'
        end as unit,
        pg_catalog.to_jsonb(v) as extra
    from pg_catalog.pg_stat_progress_create_index v
    union all
    select
        v.pid,
        'basebackup' as kind,
        null::text as command,
        null::bigint as datid,
        null::text as datname,
        null::bigint as relid,
        v.phase as phase,
        v.backup_streamed as done,
        v.backup_total as total,
        'bytes' as unit,
        pg_catalog.to_jsonb(v) as extra
    from pg_catalog.pg_stat_progress_basebackup v
    union all
    select
        v.pid,
        'copy' as kind,
        v.command as command,
        v.datid::bigint as datid,
        v.datname::text as datname,
        v.relid::bigint as relid,
        v.type as phase,
        v.bytes_processed as done,
        v.bytes_total as total,
        'bytes' as unit,
        pg_catalog.to_jsonb(v) as extra
    from pg_catalog.pg_stat_progress_copy v
) p
left join pg_catalog.pg_stat_activity a on a.pid = p.pid;
