-- Take seqs back: they are in Kafka again, so they are sent; the rows are locked, what was never settled stays as it is.
-- $1 collectors, $2 epochs, $3 lanes, $4 seqs (multiranges)
update pganalytics.ledger l
set sent = l.sent + (l.stored + l.dead + l.shed + l.missing) * b.seqs::int8multirange,
    stored = l.stored - b.seqs::int8multirange,
    dead = l.dead - b.seqs::int8multirange,
    shed = l.shed - b.seqs::int8multirange,
    missing = l.missing - b.seqs::int8multirange
from unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as b (collector, epoch, lane, seqs)
where (l.collector, l.epoch, l.lane) = (b.collector, b.epoch, b.lane)
