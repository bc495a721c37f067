-- What was sent and is neither stored, dead nor shed, stream by stream, and since when as far as the store knows: the time of the
-- oldest event about these seqs; else the newest heartbeat of their epoch is the latest at which they were sent.
-- cost: reads the ledger once, and the events of what is open
select l.collector, l.epoch, l.lane, o.seqs::text, (l.missing * o.seqs)::text, (l.deferred * o.seqs)::text,
    (select min(n.at) from pganalytics.events n
        where n.collector = l.collector and n.epoch = l.epoch and n.lane = l.lane and n.seqs && o.seqs),
    e.heartbeat_at
from pganalytics.ledger l
left join pganalytics.epochs e using (collector, epoch)
cross join lateral (
    select (l.sent + l.deferred + l.missing + case when e.final or e.retired_at is not null then '{(,)}' else '{}' end::int8multirange)
        * int8multirange(int8range(1, l.emitted + 1)) - l.stored - l.dead - l.shed as seqs
) o
where o.seqs <> '{}'
order by l.collector, l.epoch, l.lane
