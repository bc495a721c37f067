-- What of these seqs is stored, and what is settled in any way. $1 collectors, $2 epochs, $3 lanes, $4 seqs (multiranges)
select l.collector, l.epoch, l.lane, (l.stored * b.seqs::int8multirange)::text,
    ((l.stored + l.dead + l.shed + l.missing) * b.seqs::int8multirange)::text
from pganalytics.ledger l
join unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as b (collector, epoch, lane, seqs)
    on (l.collector, l.epoch, l.lane) = (b.collector, b.epoch, b.lane)
