-- What heartbeats tell of epochs: final is for ever, the newest heartbeat counts.
-- $1 collectors, $2 epochs, $3 spool ids, $4 times of heartbeats (microseconds since 1970; null: out of range), $5 finals
insert into pganalytics.epochs as e (collector, epoch, spool_id, heartbeat_at, final)
select b.collector, b.epoch, b.spool_id, timestamptz 'epoch' + b.heartbeat_us * interval '1 microsecond', b.final
from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::boolean[])
    as b (collector, epoch, spool_id, heartbeat_us, final)
order by b.collector collate "C", b.epoch
on conflict (collector, epoch) do update
set spool_id = coalesce(excluded.spool_id, e.spool_id),
    heartbeat_at = greatest(e.heartbeat_at, excluded.heartbeat_at),
    final = e.final or excluded.final
