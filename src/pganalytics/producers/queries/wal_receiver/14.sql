-- What a standby receives and replays: a row in recovery, none on a primary.
-- scope: instance
-- interval: 30 s
-- timeout: 5 s
-- privilege: pg_read_all_stats (without it the receiver is hidden)
-- server: 14
-- rows
select
    coalesce(r.pid, 0)::bigint as pid,
    r.status,
    r.slot_name,
    r.sender_host,
    r.sender_port::bigint as sender_port,
    (r.receive_start_lsn - '0/0'::pg_lsn)::bigint as receive_start_position,
    r.receive_start_tli::bigint as receive_start_timeline,
    r.received_tli::bigint as received_timeline,
    (r.written_lsn - '0/0'::pg_lsn)::bigint as written_position,
    (r.flushed_lsn - '0/0'::pg_lsn)::bigint as flushed_position,
    (w.received - '0/0'::pg_lsn)::bigint as received_position,
    (w.replayed - '0/0'::pg_lsn)::bigint as replayed_position,
    (r.latest_end_lsn - '0/0'::pg_lsn)::bigint as latest_end_position,
    (w.received - w.replayed)::bigint as unreplayed_bytes,
    (r.latest_end_lsn - w.received)::bigint as unreceived_bytes,
    (extract(epoch from r.last_msg_send_time) * 1000000)::bigint as last_msg_send_time,
    (extract(epoch from r.last_msg_receipt_time) * 1000000)::bigint as last_msg_receipt_time,
    (extract(epoch from r.latest_end_time) * 1000000)::bigint as latest_end_time,
    (extract(epoch from w.commit) * 1000000)::bigint as last_replayed_commit,
    case
        when r.status = 'streaming' and w.replayed >= w.received then 0
        else (extract(epoch from pg_catalog.clock_timestamp() - w.commit) * 1000000)::bigint
    end as replay_delay,
    case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_get_wal_replay_pause_state() else 'not paused' end as replay_state
from
    (select
        pg_catalog.pg_last_wal_replay_lsn() as replayed,
        pg_catalog.pg_last_wal_receive_lsn() as received,
        pg_catalog.pg_last_xact_replay_timestamp() as commit
    where pg_catalog.pg_is_in_recovery()) w
left join pg_catalog.pg_stat_wal_receiver r on true;
