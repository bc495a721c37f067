-- What the server as a whole did, in parts that are reset each by itself; and a row per SLRU cache.
-- scope: instance
-- interval: 60 s
-- timeout: 10 s
-- privilege: none
-- server: 18
-- `crash`: when a crash discarded all statistics (it alone gives these two views one time); NULL when that cannot be told.
-- context
select x.*, x.crash as lineage
from (select
    (extract(epoch from pg_catalog.statement_timestamp()) * 1000000)::bigint as server_time,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint as postmaster_start,
    case when b.stats_reset = a.stats_reset then (extract(epoch from b.stats_reset) * 1000000)::bigint end as crash,
    pg_catalog.pg_is_in_recovery() as in_recovery,
    (case when pg_catalog.pg_is_in_recovery()
        then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        else pg_catalog.pg_current_wal_lsn()
    end - '0/0'::pg_lsn)::bigint as wal_position,
    w.wal_records,
    w.wal_fpi,
    w.wal_bytes::bigint as wal_bytes,
    w.wal_buffers_full,
    (extract(epoch from w.stats_reset) * 1000000)::bigint as wal_stats_reset,
    c.num_timed as checkpointer_timed,
    c.num_requested as checkpointer_requested,
    c.num_done as checkpointer_done,
    c.restartpoints_timed as checkpointer_restartpoints_timed,
    c.restartpoints_req as checkpointer_restartpoints_requested,
    c.restartpoints_done as checkpointer_restartpoints_done,
    case when c.write_time < 9e12 then pg_catalog.round(c.write_time * 1000000)::bigint end as checkpointer_write_time,
    case when c.sync_time < 9e12 then pg_catalog.round(c.sync_time * 1000000)::bigint end as checkpointer_sync_time,
    c.buffers_written as checkpointer_buffers_written,
    c.slru_written as checkpointer_slru_written,
    (extract(epoch from c.stats_reset) * 1000000)::bigint as checkpointer_stats_reset,
    b.buffers_clean as bgwriter_buffers_clean,
    b.maxwritten_clean as bgwriter_maxwritten_clean,
    b.buffers_alloc as bgwriter_buffers_alloc,
    (extract(epoch from b.stats_reset) * 1000000)::bigint as bgwriter_stats_reset,
    a.archived_count as archiver_archived,
    a.failed_count as archiver_failed,
    a.last_archived_wal as archiver_last_archived_wal,
    (extract(epoch from a.last_archived_time) * 1000000)::bigint as archiver_last_archived_time,
    a.last_failed_wal as archiver_last_failed_wal,
    (extract(epoch from a.last_failed_time) * 1000000)::bigint as archiver_last_failed_time,
    (extract(epoch from a.stats_reset) * 1000000)::bigint as archiver_stats_reset,
    p.prefetch as prefetch_blocks,
    p.hit as prefetch_hit,
    p.skip_init as prefetch_skip_init,
    p.skip_new as prefetch_skip_new,
    p.skip_fpw as prefetch_skip_fpw,
    p.skip_rep as prefetch_skip_rep,
    p.wal_distance::bigint as prefetch_wal_distance,
    p.block_distance::bigint as prefetch_block_distance,
    p.io_depth::bigint as prefetch_io_depth,
    (extract(epoch from p.stats_reset) * 1000000)::bigint as prefetch_stats_reset
from
    pg_catalog.pg_stat_bgwriter b
    cross join pg_catalog.pg_stat_archiver a
    cross join pg_catalog.pg_stat_wal w
    cross join pg_catalog.pg_stat_checkpointer c
    cross join pg_catalog.pg_stat_recovery_prefetch p) x;
-- rows
select
    s.name as slru,
    s.blks_zeroed,
    s.blks_hit,
    s.blks_read,
    s.blks_written,
    s.blks_exists,
    s.flushes,
    s.truncates,
    (extract(epoch from s.stats_reset) * 1000000)::bigint as stats_reset
from pg_catalog.pg_stat_slru s;
