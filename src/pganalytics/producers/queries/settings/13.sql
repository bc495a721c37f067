-- Settings of the server, and those of databases and roles as rows of their own.
-- scope: instance
-- interval: 3600 s
-- timeout: 10 s
-- privilege: pg_read_all_stats (without pg_monitor some settings are hidden)
-- server: 13
-- What the agent's own session sets (source client or session) hides the server's value: its row says so by NULL. Settings of a
-- single transaction are left out. A value of another database may be invalid in the encoding of this one: functions that look at
-- characters would fail, and with them the whole reading; those that look for a character do not.
-- rows
select
    s.name,
    0::bigint as dbid,
    0::bigint as roleid,
    '' as datname,
    '' as rolname,
    case when s.source not in ('client', 'session') then s.setting end as setting,
    coalesce(s.unit, '') as unit,
    s.source,
    s.context,
    s.vartype,
    s.boot_val,
    case when s.source not in ('client', 'session') then s.reset_val end as reset_val,
    s.pending_restart
from pg_catalog.pg_settings s
where s.name not in ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
union all
select
    pg_catalog.split_part(c.item, '=', 1),
    r.setdatabase::bigint,
    r.setrole::bigint,
    coalesce(d.datname::text, ''),
    case when r.setrole <> 0 then pg_catalog.pg_get_userbyid(r.setrole)::text else '' end,
    pg_catalog.array_to_string((pg_catalog.string_to_array(c.item, '='))[2:], '='),
    '',
    case when r.setrole = 0 then 'database' when r.setdatabase = 0 then 'user' else 'database user' end,
    '',
    '',
    null,
    null,
    false
from pg_catalog.pg_db_role_setting r
cross join lateral pg_catalog.unnest(r.setconfig) as c (item)
left join pg_catalog.pg_database d on d.oid = r.setdatabase;
