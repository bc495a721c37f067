-- Who waits for whom: the `waiters` longest waiting sessions, each with the `blockers` that are nearest to the root of its chain.
-- While nobody waits this reads pg_stat_activity only. Of the locks it reads those that are waited for, and asks for the blockers
-- of each waiter once (a short shared lock on the table of locks).
-- scope: instance
-- interval: 15 s
-- timeout: 5 s
-- privilege: pg_read_all_stats (without it other users' sessions are hidden)
-- server: 14
-- A text of another database may be invalid in the encoding of this one: it is cut by its bytes, since a function that looks at
-- characters would fail, and with it the whole reading. Of a text that is cut, bytes that are not ASCII are octal numbers.
-- For psql; the agent has JIT off anyway. The planner expects many rows, and would compile for seconds.
set jit = off;
\set waiters 100
\set blockers 10
-- context
select pg_catalog.count(*) as waiters_total
from pg_catalog.pg_stat_activity a
where a.wait_event_type = 'Lock';
-- rows
with recursive sessions as materialized (
    select * from pg_catalog.pg_stat_activity
),
waits as materialized (
    select coalesce(s.leader_pid, s.pid) as waiter, l.*
    from pg_catalog.pg_locks l
    join sessions s on s.pid = l.pid
    where not l.granted and exists (select from pg_catalog.pg_stat_activity a where a.wait_event_type = 'Lock')
    order by l.waitstart, l.pid
    limit :waiters
),
edges as materialized (
    select distinct on (w.waiter, b.pid) w.*, b.pid as blocker
    from waits w
    cross join lateral pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) as b (pid)
    where b.pid <> w.waiter
    order by w.waiter, b.pid, w.waitstart
),
-- From each root, all who wait for it at one remove, at two, and so on: `reached` at this one, `seen` so far.
levels as (
    select e.blocker as root, 0 as depth, array[e.blocker] as reached, array[e.blocker] as seen
    from edges e
    where e.blocker <> all (select waiter from edges)
    group by e.blocker
    union all
    select l.root, l.depth + 1, n.pids, l.seen || n.pids
    from levels l
    cross join lateral (
        select pg_catalog.array_agg(distinct e.waiter) as pids
        from edges e
        where e.blocker = any (l.reached) and e.waiter <> all (l.seen)
    ) n
    where n.pids is not null
),
depths as materialized (
    select distinct on (p.pid) p.pid, l.root, l.depth, pg_catalog.count(*) over (partition by p.pid) as roots
    from levels l
    cross join lateral pg_catalog.unnest(l.reached) as p (pid)
    order by p.pid, l.depth, l.root
),
-- Prepared transactions have no process: pg_blocking_pids says 0. They are found by what they hold, and are known by the lock
-- that each holds on its own id.
held as materialized (
    select * from pg_catalog.pg_locks h
    where h.pid is null and h.granted and exists (select from edges where blocker = 0)
),
conflicts (mode, wanted) as (
    values
    ('AccessShareLock', '{AccessExclusiveLock}'::text[]),
    ('RowShareLock', '{ExclusiveLock,AccessExclusiveLock}'),
    ('RowExclusiveLock', '{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
    ('ShareUpdateExclusiveLock',
        '{ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
    ('ShareLock', '{RowExclusiveLock,ShareUpdateExclusiveLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
    ('ShareRowExclusiveLock',
        '{RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
    ('ExclusiveLock',
        '{RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
    ('AccessExclusiveLock',
        '{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,'
        'AccessExclusiveLock}')
),
prepared as materialized (
    select h.*, c.wanted, p.gid, p.prepared, p.owner, p.database as datname
    from held h
    join conflicts c on c.mode = h.mode
    join held own on own.virtualtransaction = h.virtualtransaction and own.locktype = 'transactionid'
    join pg_catalog.pg_prepared_xacts p on p.transaction = own.transactionid
),
blockers as materialized (
    select
        e.*, p.gid, p.prepared, p.owner, p.datname as prepared_datname,
        pg_catalog.count(*) over (partition by e.waiter) as blockers,
        pg_catalog.row_number() over (partition by e.waiter order by d.depth, e.blocker, p.gid) as place
    from edges e
    left join depths d on d.pid = e.blocker
    left join prepared p on e.blocker = 0 and e.mode = any (p.wanted)
        and row(p.locktype, p.database, p.relation, p.page, p.tuple, p.virtualxid, p.transactionid, p.classid, p.objid, p.objsubid)
        is not distinct from
        row(e.locktype, e.database, e.relation, e.page, e.tuple, e.virtualxid, e.transactionid, e.classid, e.objid, e.objsubid)
)
select
    e.waiter::bigint as waiter_pid,
    e.blocker::bigint as blocker_pid,
    e.gid as blocker_gid,
    d.depth::bigint as depth,
    d.root::bigint as root_pid,
    coalesce(d.roots, 0) as roots,
    e.blockers,
    e.locktype as lock_type,
    e.mode as lock_mode,
    e.database::bigint as lock_database,
    e.relation::bigint as lock_relation,
    case e.locktype
        when 'relation' then null
        when 'extend' then null
        when 'frozenid' then null
        when 'page' then e.page::text
        when 'tuple' then pg_catalog.format('(%s,%s)', e.page, e.tuple)
        when 'transactionid' then e.transactionid::text
        when 'spectoken' then e.transactionid::text
        when 'virtualxid' then e.virtualxid
        else pg_catalog.format('%s/%s/%s', e.classid, e.objid, e.objsubid)
    end as lock_detail,
    p.wait_event as wait_event,
    (extract(epoch from e.waitstart) * 1000000)::bigint as wait_start,
    greatest((extract(epoch from pg_catalog.clock_timestamp() - coalesce(e.waitstart, w.query_start)) * 1000000)::bigint, 0) as waited,
    w.datname::text as waiter_datname,
    w.usename::text as waiter_usename,
    w.application_name as waiter_application_name,
    pg_catalog.host(w.client_addr) as waiter_client_addr,
    w.backend_type as waiter_backend_type,
    (extract(epoch from w.backend_start) * 1000000)::bigint as waiter_backend_start,
    (extract(epoch from w.xact_start) * 1000000)::bigint as waiter_xact_start,
    (extract(epoch from w.query_start) * 1000000)::bigint as waiter_query_start,
    w.query_id as waiter_query_id,
    case when pg_catalog.octet_length(w.query) <= 10000 then w.query
        else pg_catalog.encode(pg_catalog.substring(pg_catalog.textsend(w.query), 1, 10000), 'escape') end as waiter_query,
    case when e.blocker = 0 then 'prepared' else b.state end as blocker_state,
    b.wait_event_type as blocker_wait_event_type,
    b.wait_event as blocker_wait_event,
    coalesce(b.datname, e.prepared_datname)::text as blocker_datname,
    coalesce(b.usename, e.owner)::text as blocker_usename,
    b.application_name as blocker_application_name,
    pg_catalog.host(b.client_addr) as blocker_client_addr,
    b.backend_type as blocker_backend_type,
    (extract(epoch from b.backend_start) * 1000000)::bigint as blocker_backend_start,
    (extract(epoch from coalesce(b.xact_start, e.prepared)) * 1000000)::bigint as blocker_xact_start,
    (extract(epoch from b.query_start) * 1000000)::bigint as blocker_query_start,
    (extract(epoch from b.state_change) * 1000000)::bigint as blocker_state_change,
    b.query_id as blocker_query_id,
    case when pg_catalog.octet_length(b.query) <= 10000 then b.query
        else pg_catalog.encode(pg_catalog.substring(pg_catalog.textsend(b.query), 1, 10000), 'escape') end as blocker_query
from blockers e
left join depths d on d.pid = e.waiter
left join sessions p on p.pid = e.pid
left join sessions w on w.pid = e.waiter
left join sessions b on b.pid = e.blocker
where e.place <= :blockers
order by d.depth, e.waiter, e.place;
