-- pg_stat_subscription, of all databases: a row per worker, and one for a subscription without any; errors beside it.
-- scope: instance
-- interval: 60 s
-- timeout: 5 s
-- privilege: none
-- server: 17
-- rows
select
    s.subid::bigint as subid,
    coalesce(s.pid, 0)::bigint as pid,
    coalesce(s.relid, 0)::bigint as relid,
    s.subname::text as subname,
    d.datname::text as datname,
    coalesce(u.subenabled, false) as enabled,
    s.leader_pid::bigint as leader_pid,
    s.worker_type,
    (s.received_lsn - '0/0'::pg_lsn)::bigint as received_position,
    (s.latest_end_lsn - '0/0'::pg_lsn)::bigint as latest_end_position,
    (s.received_lsn - s.latest_end_lsn)::bigint as unreported_bytes,
    (extract(epoch from s.last_msg_send_time) * 1000000)::bigint as last_msg_send_time,
    (extract(epoch from s.last_msg_receipt_time) * 1000000)::bigint as last_msg_receipt_time,
    (extract(epoch from s.latest_end_time) * 1000000)::bigint as latest_end_time
from pg_catalog.pg_stat_subscription s
left join pg_catalog.pg_subscription u on u.oid = s.subid
left join pg_catalog.pg_database d on d.oid = u.subdbid;
-- group errors
select
    e.subid::bigint as error_subid,
    e.apply_error_count,
    e.sync_error_count,
    (extract(epoch from e.stats_reset) * 1000000)::bigint as errors_since
from pg_catalog.pg_stat_subscription_stats e;
