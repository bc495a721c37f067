-- All entries of pg_stat_statements, without their texts.
-- scope: instance
-- interval: 60 s
-- timeout: 20 s
-- privilege: pg_read_all_stats (without it the ids of other users' statements are hidden)
-- server: 13
-- extension: pg_stat_statements 1.8
-- `crash`: when a crash discarded all statistics (it alone gives these two views one time); NULL when that cannot be told.
-- The extension may lie in any schema, and only pg_catalog is in the agent's search path: psql looks the schema up here.
select n.nspname as schema from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements' \gset
-- context
select
    (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as server_time,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint as postmaster_start,
    (select (extract(epoch from b.stats_reset) * 1000000)::bigint
        from pg_catalog.pg_stat_bgwriter b, pg_catalog.pg_stat_archiver a where b.stats_reset = a.stats_reset) as crash,
    null::bigint as lineage;
-- rows
select
    s.queryid,
    s.dbid::bigint as dbid,
    s.userid::bigint as userid,
    true as toplevel,
    s.plans,
    case when s.total_plan_time < 9e12 then pg_catalog.round(s.total_plan_time * 1000000)::bigint end as total_plan_time,
    s.calls,
    case when s.total_exec_time < 9e12 then pg_catalog.round(s.total_exec_time * 1000000)::bigint end as total_exec_time,
    s.calls * (s.stddev_exec_time * s.stddev_exec_time + s.mean_exec_time * s.mean_exec_time) as sumsq_exec_time,
    case when s.min_exec_time < 9e12 then pg_catalog.round(s.min_exec_time * 1000000)::bigint end as min_exec_time,
    case when s.max_exec_time < 9e12 then pg_catalog.round(s.max_exec_time * 1000000)::bigint end as max_exec_time,
    s.rows,
    s.shared_blks_hit,
    s.shared_blks_read,
    s.shared_blks_dirtied,
    s.shared_blks_written,
    s.local_blks_hit,
    s.local_blks_read,
    s.local_blks_dirtied,
    s.local_blks_written,
    s.temp_blks_read,
    s.temp_blks_written,
    case when s.blk_read_time < 9e12 then pg_catalog.round(s.blk_read_time * 1000000)::bigint end as shared_blk_read_time,
    case when s.blk_write_time < 9e12 then pg_catalog.round(s.blk_write_time * 1000000)::bigint end as shared_blk_write_time,
    s.wal_records,
    s.wal_fpi,
    least(s.wal_bytes, 9223372036854775807)::bigint as wal_bytes
from :"schema".pg_stat_statements(false) s;
