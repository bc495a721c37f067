-- Positions of partitions that were never read: the log's start.
-- $1 topics, $2 partitions, $3 log starts
insert into pganalytics.positions (topic, partition, next_offset)
select b.topic, b.partition, b.next_offset
from unnest($1::text[], $2::integer[], $3::bigint[]) as b (topic, partition, next_offset)
order by b.topic collate "C", b.partition
on conflict do nothing
