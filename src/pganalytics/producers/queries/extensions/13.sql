-- Extensions installed in the database, and the version that the server would install.
-- scope: database
-- interval: 3600 s
-- timeout: 10 s
-- privilege: none
-- server: 13
-- The server reads the control files of all extensions that it could install: a few milliseconds.
-- rows
select
    e.extname::text as name,
    e.extversion as version,
    a.default_version,
    n.nspname::text as schema,
    pg_catalog.pg_get_userbyid(e.extowner)::text as owner
from pg_catalog.pg_extension e
join pg_catalog.pg_namespace n on n.oid = e.extnamespace
left join pg_catalog.pg_available_extensions() a on a.name = e.extname;
