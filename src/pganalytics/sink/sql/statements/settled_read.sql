-- What needs not be looked for. $1 collectors
select l.collector, l.epoch, l.lane, (l.stored + l.dead + l.shed + l.deferred)::text
from pganalytics.ledger l
where l.collector = any ($1::text[])
