-- The databases of the server, and whether the role may connect to them: those that metrics of database scope read.
-- scope: instance
-- interval: 60 s
-- timeout: 5 s
-- privilege: none
-- server: 13
-- rows
select
    d.datname::text as datname,
    d.datallowconn as allows_connections,
    pg_catalog.has_database_privilege(d.oid, 'CONNECT') as may_connect
from pg_catalog.pg_database d
where not d.datistemplate
order by 1;
