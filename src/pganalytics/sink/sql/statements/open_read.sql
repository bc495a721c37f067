-- What was sent and is not settled, and what of it is deferred. Of an epoch that has ended nothing is unsent.
-- cost: reads the ledger once; $1 collectors, or null for all
select l.collector, l.epoch, l.lane, o.seqs::text, (l.deferred * o.seqs)::text
from pganalytics.ledger l
left join pganalytics.epochs e using (collector, epoch)
cross join lateral (
    select (l.sent + l.deferred + case when e.final or e.retired_at is not null then '{(,)}' else '{}' end::int8multirange)
        * int8multirange(int8range(1, l.emitted + 1)) - l.stored - l.dead - l.shed - l.missing as seqs
) o
where o.seqs <> '{}' and ($1::text[] is null or l.collector = any ($1::text[]))
