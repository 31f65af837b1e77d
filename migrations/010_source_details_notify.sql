-- 010: NOTIFY source_details_changed, with a source's id or '*', when something that its page shows has changed.
--
-- Statement-level triggers with transition tables: one call per statement however many rows it changes. They
-- compare only the columns that a page shows; a no-op update, and columns that merely tick (updated_at, the
-- LSNs, lags and timestamps of wal_monitor), tell nobody. Changes that the materialized view depends on are
-- appended to the log as well. The functions run with their owner's rights, because the programs that write to
-- these tables have none on the log.

-- Tells of `changed` sources: NULL none, 0 all of them. Equal notifications of one transaction collapse into one.
CREATE OR REPLACE FUNCTION public.source_details_announce(changed integer [], is_in_view boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF changed IS NULL THEN
        RETURN;
    END IF;
    IF is_in_view THEN
        INSERT INTO public.source_details_log (source_id) SELECT unnest(changed) ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(changed) > 100 OR 0 = ANY (changed) THEN
        PERFORM pg_notify('source_details_changed', '*');
    ELSE
        PERFORM pg_notify('source_details_changed', source_id::text) FROM unnest(changed) AS source_id;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION public.source_details_sources_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(n.id) INTO changed FROM new_rows AS n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(o.id) INTO changed FROM old_rows AS o;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (
            SELECT
                id, name, pg_host, pg_port, pg_database, pg_username, publication_name, replication_name,
                is_publication_enabled, is_replication_enabled, total_tables, created_at
            FROM old_rows
        ),
        after AS (
            SELECT
                id, name, pg_host, pg_port, pg_database, pg_username, publication_name, replication_name,
                is_publication_enabled, is_replication_enabled, total_tables, created_at
            FROM new_rows
        ),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.id) INTO changed FROM difference AS d;
    ELSE
        changed := '{0}';
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => false);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION public.source_details_destinations_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    destinations integer [];
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(n.id) INTO destinations FROM new_rows AS n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(o.id) INTO destinations FROM old_rows AS o;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (SELECT id, name FROM old_rows),
        after AS (SELECT id, name FROM new_rows),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.id) INTO destinations FROM difference AS d;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        changed := '{0}';
    ELSIF destinations IS NOT NULL THEN
        SELECT array_agg(DISTINCT p.source_id) INTO changed
        FROM public.pipelines_destination AS pd
        INNER JOIN public.pipelines AS p ON p.id = pd.pipeline_id
        WHERE pd.destination_id = ANY (destinations) AND p.source_id IS NOT NULL;
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => false);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION public.source_details_pipelines_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.source_id) INTO changed FROM new_rows AS n WHERE n.source_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.source_id) INTO changed FROM old_rows AS o WHERE o.source_id IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (SELECT id, source_id FROM old_rows),
        after AS (SELECT id, source_id FROM new_rows),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.source_id) INTO changed FROM difference AS d WHERE d.source_id IS NOT NULL;
    ELSE
        changed := '{0}';
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => false);
    RETURN NULL;
END
$$;

-- When a whole pipeline is deleted its row is gone before these are; the pipeline's own trigger tells of it.
CREATE OR REPLACE FUNCTION public.source_details_pipelines_destination_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pipelines integer [];
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.pipeline_id) INTO pipelines FROM new_rows AS n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.pipeline_id) INTO pipelines FROM old_rows AS o;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (SELECT id, pipeline_id, destination_id FROM old_rows),
        after AS (SELECT id, pipeline_id, destination_id FROM new_rows),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.pipeline_id) INTO pipelines FROM difference AS d;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        changed := '{0}';
    ELSIF pipelines IS NOT NULL THEN
        SELECT array_agg(DISTINCT p.source_id) INTO changed
        FROM public.pipelines AS p
        WHERE p.id = ANY (pipelines) AND p.source_id IS NOT NULL;
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => false);
    RETURN NULL;
END
$$;

-- The size of the WAL in bytes, from what wal_monitor keeps for people ('16 MB'); NULL where that is no size.
CREATE OR REPLACE FUNCTION public.source_details_wal_bytes(total_wal_size text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (part[1]::numeric * 1024 ^ (position(upper(left(part[2], 1)) IN 'BKMGTP') - 1)::numeric)::bigint
    FROM regexp_match(total_wal_size, '^\s*(\d{1,6}(?:\.\d{1,9})?)\s*(bytes|B|kB|MB|GB|TB)\s*$', 'i') AS part
$$;

-- OK, WARNING or ERROR by the thresholds (MB) of rosetta_setting_configuration; NULL where the size is unknown.
CREATE OR REPLACE FUNCTION public.source_details_wal_class(wal_bytes bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        CASE
            WHEN wal_bytes IS NULL THEN NULL
            WHEN wal_bytes >= coalesce(max(mb) FILTER (WHERE config_key LIKE '%ERROR'), 6000) * 1048576 THEN 'ERROR'
            WHEN wal_bytes >= coalesce(max(mb) FILTER (WHERE config_key LIKE '%WARNING'), 3000) * 1048576 THEN 'WARNING'
            ELSE 'OK'
        END
    FROM (
        SELECT config_key, substring(config_value FROM '^\s*(\d{1,12}(?:\.\d+)?)\s*$')::numeric AS mb
        FROM public.rosetta_setting_configuration
        WHERE config_key IN ('WAL_MONITORING_THRESHOLD_WARNING', 'WAL_MONITORING_THRESHOLD_ERROR')
    ) AS thresholds
$$;

CREATE OR REPLACE FUNCTION public.source_details_wal_monitor_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.source_id) INTO changed FROM new_rows AS n WHERE n.source_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.source_id) INTO changed FROM old_rows AS o WHERE o.source_id IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (
            SELECT
                id, source_id, status, error_message, replication_slot_name,
                public.source_details_wal_class(public.source_details_wal_bytes(total_wal_size)) AS wal_class
            FROM old_rows
        ),
        after AS (
            SELECT
                id, source_id, status, error_message, replication_slot_name,
                public.source_details_wal_class(public.source_details_wal_bytes(total_wal_size)) AS wal_class
            FROM new_rows
        ),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.source_id) INTO changed FROM difference AS d WHERE d.source_id IS NOT NULL;
    ELSE
        changed := '{0}';
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => false);
    RETURN NULL;
END
$$;

-- The thresholds decide every source's WAL class.
CREATE OR REPLACE FUNCTION public.source_details_settings_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_changed boolean := true;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT bool_or(n.config_key LIKE 'WAL\_MONITORING\_THRESHOLD\_%') INTO is_changed FROM new_rows AS n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT bool_or(o.config_key LIKE 'WAL\_MONITORING\_THRESHOLD\_%') INTO is_changed FROM old_rows AS o;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (SELECT config_key, config_value FROM old_rows),
        after AS (SELECT config_key, config_value FROM new_rows),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT bool_or(d.config_key LIKE 'WAL\_MONITORING\_THRESHOLD\_%') INTO is_changed FROM difference AS d;
    END IF;
    PERFORM public.source_details_announce(CASE WHEN is_changed THEN '{0}'::integer [] END, is_in_view => false);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION public.source_details_table_metadata_list_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.source_id) INTO changed FROM new_rows AS n WHERE n.source_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.source_id) INTO changed FROM old_rows AS o WHERE o.source_id IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (SELECT id, source_id, table_name, schema_table, is_published, column_order FROM old_rows),
        after AS (SELECT id, source_id, table_name, schema_table, is_published, column_order FROM new_rows),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.source_id) INTO changed FROM difference AS d WHERE d.source_id IS NOT NULL;
    ELSE
        changed := '{0}';
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => true);
    RETURN NULL;
END
$$;

-- When a whole table is deleted its row is gone before its history is; the table's own trigger tells of it.
CREATE OR REPLACE FUNCTION public.source_details_history_schema_evolution_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tables integer [];
    changed integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.table_metadata_list_id) INTO tables FROM new_rows AS n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.table_metadata_list_id) INTO tables FROM old_rows AS o;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH
        before AS (SELECT id, table_metadata_list_id, version_schema FROM old_rows),
        after AS (SELECT id, table_metadata_list_id, version_schema FROM new_rows),
        difference AS (
            (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)
        )
        SELECT array_agg(DISTINCT d.table_metadata_list_id) INTO tables FROM difference AS d;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        changed := '{0}';
    ELSIF tables IS NOT NULL THEN
        SELECT array_agg(DISTINCT t.source_id) INTO changed
        FROM public.table_metadata_list AS t
        WHERE t.id = ANY (tables) AND t.source_id IS NOT NULL;
    END IF;
    PERFORM public.source_details_announce(changed, is_in_view => true);
    RETURN NULL;
END
$$;

-- ENABLE ALWAYS: a writer with session_replication_role = replica is heard as well.
DO $$
DECLARE
    watched record;
    event record;
BEGIN
    FOR watched IN
        SELECT *
        FROM (
            VALUES
            ('sources', 'source_details_sources_changed'),
            ('destinations', 'source_details_destinations_changed'),
            ('pipelines', 'source_details_pipelines_changed'),
            ('pipelines_destination', 'source_details_pipelines_destination_changed'),
            ('wal_monitor', 'source_details_wal_monitor_changed'),
            ('rosetta_setting_configuration', 'source_details_settings_changed'),
            ('table_metadata_list', 'source_details_table_metadata_list_changed'),
            ('history_schema_evolution', 'source_details_history_schema_evolution_changed')
        ) AS list (name, handler)
    LOOP
        FOR event IN
            SELECT *
            FROM (
                VALUES
                ('insert', 'REFERENCING NEW TABLE AS new_rows'),
                ('update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
                ('delete', 'REFERENCING OLD TABLE AS old_rows'),
                ('truncate', '')
            ) AS list (name, transition)
        LOOP
            EXECUTE format(
                'CREATE OR REPLACE TRIGGER %I AFTER %s ON public.%I %s FOR EACH STATEMENT EXECUTE FUNCTION public.%I()',
                'source_details_' || event.name, event.name, watched.name, event.transition, watched.handler
            );
            EXECUTE format(
                'ALTER TABLE public.%I ENABLE ALWAYS TRIGGER %I', watched.name, 'source_details_' || event.name
            );
        END LOOP;
    END LOOP;
END
$$;

-- Creating a trigger waits for the writers before it; what they wrote unheard, this first refresh reads.
DO $$
BEGIN
    IF (SELECT s.view_snapshot IS NULL FROM public.source_details_refresh_state AS s) THEN
        PERFORM public.source_details_refresh();
    END IF;
END
$$;
