-- All entries of pg_stat_statements, without their texts.
-- scope: instance
-- interval: 60 s
-- timeout: 20 s
-- privilege: pg_read_all_stats (without it the ids of other users' statements are hidden)
-- server: 18
-- extension: pg_stat_statements 1.12
-- `crash`: when a crash discarded all statistics (it alone gives these two views one time); NULL when that cannot be told.
-- `lineage`: since when the entries exist.
-- The extension may lie in any schema, and only pg_catalog is in the agent's search path: psql looks the schema up here.
select n.nspname as schema from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements' \gset
-- context
select
    (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as server_time,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint as postmaster_start,
    (select (extract(epoch from b.stats_reset) * 1000000)::bigint
        from pg_catalog.pg_stat_bgwriter b, pg_catalog.pg_stat_archiver a where b.stats_reset = a.stats_reset) as crash,
    (extract(epoch from i.stats_reset) * 1000000)::bigint as lineage,
    (extract(epoch from i.stats_reset) * 1000000)::bigint as stats_reset,
    i.dealloc
from :"schema".pg_stat_statements_info() i;
-- rows
select
    s.queryid,
    s.dbid::bigint as dbid,
    s.userid::bigint as userid,
    s.toplevel,
    (extract(epoch from s.stats_since) * 1000000)::bigint as stats_since,
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
    case when s.shared_blk_read_time < 9e12 then pg_catalog.round(s.shared_blk_read_time * 1000000)::bigint end as shared_blk_read_time,
    case when s.shared_blk_write_time < 9e12 then pg_catalog.round(s.shared_blk_write_time * 1000000)::bigint end as shared_blk_write_time,
    case when s.local_blk_read_time < 9e12 then pg_catalog.round(s.local_blk_read_time * 1000000)::bigint end as local_blk_read_time,
    case when s.local_blk_write_time < 9e12 then pg_catalog.round(s.local_blk_write_time * 1000000)::bigint end as local_blk_write_time,
    case when s.temp_blk_read_time < 9e12 then pg_catalog.round(s.temp_blk_read_time * 1000000)::bigint end as temp_blk_read_time,
    case when s.temp_blk_write_time < 9e12 then pg_catalog.round(s.temp_blk_write_time * 1000000)::bigint end as temp_blk_write_time,
    s.wal_records,
    s.wal_fpi,
    least(s.wal_bytes, 9223372036854775807)::bigint as wal_bytes,
    s.wal_buffers_full,
    s.jit_functions,
    case when s.jit_generation_time < 9e12 then pg_catalog.round(s.jit_generation_time * 1000000)::bigint end as jit_generation_time,
    s.jit_inlining_count,
    case when s.jit_inlining_time < 9e12 then pg_catalog.round(s.jit_inlining_time * 1000000)::bigint end as jit_inlining_time,
    s.jit_optimization_count,
    case when s.jit_optimization_time < 9e12 then pg_catalog.round(s.jit_optimization_time * 1000000)::bigint end as jit_optimization_time,
    s.jit_emission_count,
    case when s.jit_emission_time < 9e12 then pg_catalog.round(s.jit_emission_time * 1000000)::bigint end as jit_emission_time,
    s.jit_deform_count,
    case when s.jit_deform_time < 9e12 then pg_catalog.round(s.jit_deform_time * 1000000)::bigint end as jit_deform_time,
    s.parallel_workers_to_launch,
    s.parallel_workers_launched
from :"schema".pg_stat_statements(false) s;
