-- Roles with their attributes and memberships.
-- scope: instance
-- interval: 3600 s
-- timeout: 10 s
-- privilege: none
-- server: 13
-- pg_roles shows no password. A grant that several roles made counts once, with all that they granted.
-- rows
select
    r.oid::bigint as roleid,
    r.rolname::text as name,
    r.rolsuper as is_superuser,
    r.rolinherit as inherits,
    r.rolcreaterole as can_create_roles,
    r.rolcreatedb as can_create_databases,
    r.rolcanlogin as can_login,
    r.rolreplication as can_replicate,
    r.rolbypassrls as bypasses_rls,
    r.rolconnlimit::bigint as connection_limit,
    case when pg_catalog.isfinite(r.rolvaliduntil)
        then least(extract(epoch from r.rolvaliduntil) * 1000000, 9.2e18)::bigint end as valid_until,
    coalesce(m.member_of, '') as member_of
from pg_catalog.pg_roles r
left join (
    select
        m.member,
        pg_catalog.string_agg(
            pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(m.roleid)) || case when m.admin_option then ' (admin)' else '' end,
            ', ' order by pg_catalog.pg_get_userbyid(m.roleid)) as member_of
    from pg_catalog.pg_auth_members m
    group by m.member) m on m.member = r.oid;
