-- Who may call the functions that work with their owner's rights: nobody by default. Otherwise any role that can connect
-- could start refreshes, or read what is said of a source.
--
-- service/deploy/roles.sql grants them to the service's role. Roles that could read source_details_refresh_state before,
-- which is ours alone, served pages: they keep what they need. Triggers need no such right.
--
-- They also get what the files after 010 made: a service that runs goes on after a migration, before roles.sql is applied
-- again.
DO $$
DECLARE
    ours text [];
    reader record;
    name text;
BEGIN
    SELECT coalesce(array_agg(p.oid::regprocedure::text), '{}') INTO ours
    FROM pg_catalog.pg_proc AS p
    WHERE
        p.pronamespace = 'public'::regnamespace
        AND p.proname LIKE 'source\_details\_%'
        AND p.prosecdef
        AND pg_catalog.pg_has_role(p.proowner, 'USAGE');
    FOREACH name IN ARRAY ours LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
    FOR reader IN
        SELECT DISTINCT a.grantee::regrole AS name
        FROM pg_catalog.pg_class AS c
        CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
        WHERE
            c.oid = 'public.source_details_refresh_state'::regclass
            AND a.privilege_type = 'SELECT'
            AND a.grantee NOT IN (0, c.relowner)
    LOOP
        FOREACH name IN ARRAY ours LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', name, reader.name);
        END LOOP;
        EXECUTE format(
            'GRANT SELECT, INSERT, DELETE, UPDATE (is_noticed) ON public.source_details_timeline TO %s', reader.name
        );
        EXECUTE format(
            'GRANT SELECT, INSERT, UPDATE, DELETE ON public.source_details_notices, public.source_details_activity, '
            'public.source_details_activity_round TO %s',
            reader.name
        );
        -- The statement of a page names it.
        EXECUTE format('GRANT SELECT ON public.source_details_registered TO %s', reader.name);
    END LOOP;
END
$$;
