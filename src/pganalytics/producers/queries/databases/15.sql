-- Databases with owner, encoding and locale, also those that allow no connections.
-- scope: instance
-- interval: 3600 s
-- timeout: 10 s
-- privilege: none
-- server: 15
-- rows
select
    d.oid::bigint as datid,
    d.datname::text as datname,
    pg_catalog.pg_get_userbyid(d.datdba)::text as owner,
    pg_catalog.pg_encoding_to_char(d.encoding)::text as encoding,
    case d.datlocprovider when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end as locale_provider,
    d.datcollate::text as collate,
    d.datctype::text as ctype,
    coalesce(d.daticulocale, '') as locale,
    d.datcollversion as collation_version,
    pg_catalog.pg_database_collation_actual_version(d.oid) as collation_actual_version,
    d.datistemplate as is_template,
    d.datallowconn as allows_connections,
    d.datconnlimit::bigint as connection_limit,
    t.spcname::text as tablespace
from pg_catalog.pg_database d
join pg_catalog.pg_tablespace t on t.oid = d.dattablespace;
