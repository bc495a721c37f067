-- Count the rows of a partition that is about to be dropped.
-- $1 metric, $2 collectors, $3 epochs, $4 lanes, $5 rows
insert into pganalytics.rows_dropped as d (metric, collector, epoch, lane, rows)
select $1::text, b.collector, b.epoch, b.lane, b.rows
from unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[]) as b (collector, epoch, lane, rows)
on conflict (metric, collector, epoch, lane) do update set rows = d.rows + excluded.rows
