-- Locks counted by what they are. Reading them holds up all who want locks for the moment of a copy: not more often than needed.
-- scope: instance
-- interval: 60 s
-- timeout: 5 s
-- privilege: none
-- server: 14
-- rows
select
    coalesce(l.database, 0)::bigint as datid,
    l.locktype,
    l.mode,
    l.granted,
    d.datname::text as datname,
    pg_catalog.count(*) as locks,
    pg_catalog.count(*) filter (where l.fastpath) as fastpath,
    (extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(l.waitstart)) * 1000000)::bigint as longest_wait
from pg_catalog.pg_locks l
left join pg_catalog.pg_database d on d.oid = l.database
where l.pid is distinct from pg_catalog.pg_backend_pid()
group by 1, 2, 3, 4, 5;
