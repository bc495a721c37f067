-- Move one position that lies outside of its log, unless somebody has moved it.
-- $1 topic, $2 partition, $3 offset before, $4 offset after
update pganalytics.positions
set next_offset = $4::bigint
where topic = $1::text and partition = $2::integer and next_offset = $3::bigint
