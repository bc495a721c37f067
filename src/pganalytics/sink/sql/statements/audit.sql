-- What became of every record, per collector, by the ledger alone. Of an epoch that has ended nothing is unsent.
-- scope: store; cost: reads the ledger once; $1 a collector, or null for all
select l.collector,
    sum(l.emitted) as emitted,
    sum(n.stored) as stored,
    sum(n.dead) as dead,
    sum(n.shed) as shed,
    sum(n.in_spool) as in_spool,
    sum(n.in_kafka) as in_kafka,
    sum(n.missing) as missing
from pganalytics.ledger l
left join pganalytics.epochs e using (collector, epoch)
cross join lateral (
    select l.stored + l.dead + l.shed + l.missing as settled, int8multirange(int8range(1, l.emitted + 1)) as known,
        l.sent + l.deferred + case when e.final or e.retired_at is not null then '{(,)}' else '{}' end::int8multirange as left_spool
) s
cross join lateral (
    select
        coalesce((select sum(upper(r) - lower(r)) from unnest(l.stored) r), 0) as stored,
        coalesce((select sum(upper(r) - lower(r)) from unnest(l.dead) r), 0) as dead,
        coalesce((select sum(upper(r) - lower(r)) from unnest(l.shed) r), 0) as shed,
        coalesce((select sum(upper(r) - lower(r)) from unnest(l.missing) r), 0) as missing,
        coalesce((select sum(upper(r) - lower(r)) from unnest(s.known - s.settled - s.left_spool) r), 0) as in_spool,
        coalesce((select sum(upper(r) - lower(r)) from unnest(s.left_spool * s.known - s.settled) r), 0) as in_kafka
) n
where $1::text is null or l.collector = $1::text
group by l.collector
order by l.collector
