-- pg_stat_io: a row per type of process, object and context that can do input or output.
-- scope: instance
-- interval: 300 s
-- timeout: 5 s
-- privilege: none
-- server: 16
-- `crash`: when a crash discarded all statistics (it alone gives these two views one time); NULL when that cannot be told.
-- `lineage`: since when the statistics exist; it is one time for all rows.
-- context
select x.*, x.stats_reset as lineage
from (select
    (extract(epoch from pg_catalog.statement_timestamp()) * 1000000)::bigint as server_time,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint as postmaster_start,
    (select (extract(epoch from b.stats_reset) * 1000000)::bigint
        from pg_catalog.pg_stat_bgwriter b, pg_catalog.pg_stat_archiver a where b.stats_reset = a.stats_reset) as crash,
    (select (extract(epoch from pg_catalog.max(s.stats_reset)) * 1000000)::bigint from pg_catalog.pg_stat_io s) as stats_reset) x;
-- rows
select
    s.backend_type,
    s.object,
    s.context,
    s.reads,
    s.reads * s.op_bytes as read_bytes,
    case when s.read_time < 9e12 then pg_catalog.round(s.read_time * 1000000)::bigint end as read_time,
    s.writes,
    s.writes * s.op_bytes as write_bytes,
    case when s.write_time < 9e12 then pg_catalog.round(s.write_time * 1000000)::bigint end as write_time,
    s.writebacks,
    case when s.writeback_time < 9e12 then pg_catalog.round(s.writeback_time * 1000000)::bigint end as writeback_time,
    s.extends,
    s.extends * s.op_bytes as extend_bytes,
    case when s.extend_time < 9e12 then pg_catalog.round(s.extend_time * 1000000)::bigint end as extend_time,
    s.hits,
    s.evictions,
    s.reuses,
    s.fsyncs,
    case when s.fsync_time < 9e12 then pg_catalog.round(s.fsync_time * 1000000)::bigint end as fsync_time
from pg_catalog.pg_stat_io s;
