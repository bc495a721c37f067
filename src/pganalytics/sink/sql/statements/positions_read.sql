-- $1 topics, $2 partitions
select p.topic, p.partition, p.next_offset
from pganalytics.positions p
join unnest($1::text[], $2::integer[]) as b (topic, partition) on (p.topic, p.partition) = (b.topic, b.partition)
