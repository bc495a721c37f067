-- Add a batch to the ledger. Precedence: each column is minus all before it.
-- $1 collectors, $2 epochs, $3 lanes, $4 stored, $5 dead, $6 shed, $7 deferred, $8 sent (multiranges), $9 emitted
update pganalytics.ledger l
set stored = l.stored + b.stored,
    dead = l.dead + b.dead - (l.stored + b.stored),
    shed = l.shed + b.shed - (l.stored + b.stored + l.dead + b.dead),
    missing = l.missing - (b.stored + b.dead + b.shed),
    deferred = l.deferred + b.deferred - (l.stored + b.stored + l.dead + b.dead + l.shed + b.shed + l.missing),
    sent = l.sent + b.sent,
    emitted = greatest(l.emitted, b.emitted)
from (
    select u.collector, u.epoch, u.lane, u.emitted,
        u.stored::int8multirange as stored, u.dead::int8multirange as dead, u.shed::int8multirange as shed,
        u.deferred::int8multirange as deferred, u.sent::int8multirange as sent
    from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[])
        as u (collector, epoch, lane, stored, dead, shed, deferred, sent, emitted)
) b
where (l.collector, l.epoch, l.lane) = (b.collector, b.epoch, b.lane)
