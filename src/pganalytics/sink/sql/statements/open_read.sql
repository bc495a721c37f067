-- What was sent and is not settled, and what of it is deferred. cost: reads the ledger once; $1 collectors, or null for all
select l.collector, l.epoch, l.lane, o.seqs::text, (l.deferred * o.seqs)::text
from pganalytics.ledger l
cross join lateral (
    select (l.sent + l.deferred) * int8multirange(int8range(1, l.emitted + 1))
        - l.stored - l.dead - l.shed - l.missing as seqs
) o
where o.seqs <> '{}' and ($1::text[] is null or l.collector = any ($1::text[]))
