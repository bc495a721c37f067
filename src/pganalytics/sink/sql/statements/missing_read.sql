-- What is missing, exactly. $1 a collector, or null for all
select l.collector, l.epoch, l.lane, l.missing::text
from pganalytics.ledger l
where l.missing <> '{}' and ($1::text is null or l.collector = $1::text)
order by l.collector, l.epoch, l.lane
