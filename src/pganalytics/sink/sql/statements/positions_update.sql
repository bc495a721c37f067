-- $1 topics, $2 partitions, $3 next offsets; the rows are locked
update pganalytics.positions p
set next_offset = b.next_offset
from unnest($1::text[], $2::integer[], $3::bigint[]) as b (topic, partition, next_offset)
where (p.topic, p.partition) = (b.topic, b.partition)
