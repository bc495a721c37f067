-- What heartbeats tell of epochs: final is for ever, the newest heartbeat counts.
-- $1 collectors, $2 epochs, $3 spool ids, $4 times of heartbeats (microseconds since 1970; null: out of range), $5 finals,
-- $6 to $8 final seqs of critical, normal, bulk (null: not final)
insert into pganalytics.epochs as e
    (collector, epoch, spool_id, heartbeat_at, final, final_critical, final_normal, final_bulk)
select b.collector, b.epoch, b.spool_id, timestamptz 'epoch' + b.heartbeat_us * interval '1 microsecond', b.final,
    b.final_critical, b.final_normal, b.final_bulk
from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::boolean[], $6::bigint[], $7::bigint[], $8::bigint[])
    as b (collector, epoch, spool_id, heartbeat_us, final, final_critical, final_normal, final_bulk)
order by b.collector collate "C", b.epoch
on conflict (collector, epoch) do update
set spool_id = coalesce(excluded.spool_id, e.spool_id),
    heartbeat_at = greatest(e.heartbeat_at, excluded.heartbeat_at),
    final = e.final or excluded.final,
    final_critical = least(e.final_critical, excluded.final_critical),
    final_normal = least(e.final_normal, excluded.final_normal),
    final_bulk = least(e.final_bulk, excluded.final_bulk)
