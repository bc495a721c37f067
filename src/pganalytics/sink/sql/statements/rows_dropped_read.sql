-- Rows that retention removed, per stream. $1 a collector, or null for all
select d.collector, d.epoch, d.lane, sum(d.rows)::bigint
from pganalytics.rows_dropped d
where $1::text is null or d.collector = $1::text
group by d.collector, d.epoch, d.lane
