-- Epochs of a collector that have not ended, and what is left of each: emitted and not settled.
-- $1 the collector, $2 seconds without a heartbeat after which it is taken for silent
select e.epoch, e.orphaned_at is not null,
    e.orphaned_at is null and e.listed_at > now() - $2::double precision * interval '1 second',
    coalesce((
        select sum(upper(r) - lower(r))
        from pganalytics.ledger l,
            unnest(int8multirange(int8range(1, l.emitted + 1)) - l.stored - l.dead - l.shed - l.missing) r
        where (l.collector, l.epoch) = (e.collector, e.epoch)
    ), 0)::bigint
from pganalytics.epochs e
where e.collector = $1::text and not e.final and e.retired_at is null
order by e.epoch
