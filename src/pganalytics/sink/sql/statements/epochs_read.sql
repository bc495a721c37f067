-- Epochs that did not end as they should: what an audit has to say of them. $1 a collector, or null for all
select case when e.orphaned_at is not null then 'orphaned' else 'rolled_back' end, e.collector, e.epoch, e.spool_id,
    e.heartbeat_at, e.omitted_from, k.emitted, k.unsent
from pganalytics.epochs e
cross join lateral (
    select coalesce(jsonb_object_agg(l.lane, l.emitted), '{}') as emitted,
        coalesce(jsonb_object_agg(l.lane, u.seqs::text) filter (where u.seqs <> '{}'), '{}') as unsent
    from pganalytics.ledger l
    cross join lateral (
        select int8multirange(int8range(1, l.emitted + 1)) - l.sent - l.stored - l.dead - l.shed - l.missing - l.deferred as seqs
    ) u
    where (l.collector, l.epoch) = (e.collector, e.epoch)
) k
where (e.rolled_back or (e.orphaned_at is not null and e.retired_at is null and not e.final))
    and ($1::text is null or e.collector = $1::text)
order by e.collector, e.epoch
