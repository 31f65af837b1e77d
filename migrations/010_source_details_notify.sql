-- 010: NOTIFY source_details_changed, with a source's id or '*', when something that its page shows has changed.
--
-- Statement-level triggers with transition tables: one call per statement however many rows it changes. They
-- compare only the columns that a page shows; a no-op update, and columns that merely tick (updated_at, the
-- LSNs, lags and timestamps of wal_monitor), tell nobody. Changes that the materialized view depends on are
-- appended to the log as well. The functions run with their owner's rights, because the programs that write to
-- these tables have none on the log.
--
-- Where a page is found by way of other tables (a destination's pipelines, a version's table), a row on that way may be
-- moved at the same time by a transaction that is not visible yet. Whoever writes below such a row therefore holds it
-- where it is, and whoever moves one waits for them. Who finds it held by a mover, and a transaction that keeps an old
-- snapshot (REPEATABLE READ), cannot find the way, and tells of all sources.
--
-- After this file, also when it is applied again to repair triggers, apply 011: what was written unheard is read there.
-- Each trigger needs a short lock on its table; PGOPTIONS='-c lock_timeout=500ms' makes psql give up rather than wait
-- among writers (bin/migrate does so, and tries again).

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

-- Whether this transaction's lookups see what others have committed meanwhile.
CREATE OR REPLACE FUNCTION public.source_details_sees_others() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
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
        SELECT array_agg(DISTINCT id) INTO changed
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        WHERE
            (
                o.name, o.pg_host, o.pg_port, o.pg_database, o.pg_username, o.publication_name, o.replication_name,
                o.is_publication_enabled, o.is_replication_enabled, o.total_tables, o.created_at
            )
            IS DISTINCT FROM
            (
                n.name, n.pg_host, n.pg_port, n.pg_database, n.pg_username, n.publication_name, n.replication_name,
                n.is_publication_enabled, n.is_replication_enabled, n.total_tables, n.created_at
            );
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
        SELECT array_agg(DISTINCT id) INTO destinations
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        WHERE o.name IS DISTINCT FROM n.name;
        -- A pipeline that is being led here is not visible yet: its foreign key holds the destination.
        PERFORM FROM public.destinations AS d WHERE d.id = ANY (destinations) FOR UPDATE;
    END IF;
    IF TG_OP = 'TRUNCATE' OR (destinations IS NOT NULL AND NOT public.source_details_sees_others()) THEN
        changed := '{0}';
    ELSIF destinations IS NOT NULL THEN
        SELECT
            CASE WHEN
                count(*) = (
                    SELECT count(*)
                    FROM public.pipelines_destination AS pd
                    INNER JOIN public.pipelines AS p ON p.id = pd.pipeline_id
                    WHERE pd.destination_id = ANY (destinations)
                )
                THEN array_agg(DISTINCT held.source_id) FILTER (WHERE held.source_id IS NOT NULL)
                -- Something on the way there is being moved or deleted, and waiting for that could be a deadlock.
                ELSE '{0}'
            END
        INTO changed
        FROM (
            -- Held until the end: a pipeline that is moved meanwhile would take the old name to a source that is not told.
            SELECT p.source_id
            FROM public.pipelines_destination AS pd
            INNER JOIN public.pipelines AS p ON p.id = pd.pipeline_id
            WHERE pd.destination_id = ANY (destinations)
            FOR KEY SHARE SKIP LOCKED
        ) AS held;
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
    has_moved boolean;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.source_id) INTO changed FROM new_rows AS n WHERE n.source_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.source_id) INTO changed FROM old_rows AS o WHERE o.source_id IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT
            array_agg(DISTINCT shown.source_id),
            bool_or(o.source_id IS DISTINCT FROM n.source_id)
        INTO changed, has_moved
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        CROSS JOIN LATERAL (VALUES (o.source_id), (n.source_id)) AS shown (source_id)
        WHERE
            (o.source_id, o.name, o.status) IS DISTINCT FROM (n.source_id, n.name, n.status)
            AND shown.source_id IS NOT NULL;
        IF has_moved THEN
            -- A destination that is being added to a moved pipeline is told of to the source that it had.
            PERFORM FROM public.pipelines AS p
            WHERE p.id IN (SELECT n.id FROM new_rows AS n)
            FOR UPDATE;
        END IF;
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
        SELECT array_agg(DISTINCT shown.pipeline_id) INTO pipelines
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        CROSS JOIN LATERAL (VALUES (o.pipeline_id), (n.pipeline_id)) AS shown (pipeline_id)
        WHERE
            (o.pipeline_id, o.destination_id, o.is_error)
            IS DISTINCT FROM (n.pipeline_id, n.destination_id, n.is_error)
            AND shown.pipeline_id IS NOT NULL;
        -- A destination that is being renamed is told of to the source that had it: it holds these rows.
        PERFORM FROM public.pipelines_destination AS pd
        WHERE
            pd.id IN (
                SELECT n.id
                FROM new_rows AS n
                INNER JOIN old_rows AS o USING (id)
                WHERE o.pipeline_id IS DISTINCT FROM n.pipeline_id
            )
        FOR UPDATE;
    END IF;
    IF TG_OP = 'TRUNCATE' OR (pipelines IS NOT NULL AND NOT public.source_details_sees_others()) THEN
        changed := '{0}';
    ELSIF TG_OP = 'INSERT' THEN
        -- The foreign key holds them where they are.
        SELECT array_agg(DISTINCT p.source_id) INTO changed
        FROM public.pipelines AS p
        WHERE p.id = ANY (pipelines) AND p.source_id IS NOT NULL;
    ELSIF pipelines IS NOT NULL THEN
        SELECT
            CASE WHEN count(*) = (SELECT count(*) FROM public.pipelines AS p WHERE p.id = ANY (pipelines))
                THEN array_agg(DISTINCT held.source_id) FILTER (WHERE held.source_id IS NOT NULL)
                -- One of them is being moved or deleted right now, and waiting for that could be a deadlock.
                ELSE '{0}'
            END
        INTO changed
        FROM (
            SELECT p.source_id
            FROM public.pipelines AS p
            WHERE p.id = ANY (pipelines)
            FOR KEY SHARE SKIP LOCKED
        ) AS held;
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
        SELECT array_agg(DISTINCT shown.source_id) INTO changed
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        CROSS JOIN LATERAL (VALUES (o.source_id), (n.source_id)) AS shown (source_id)
        WHERE
            (
                (o.source_id, o.status, o.error_message, o.replication_slot_name)
                IS DISTINCT FROM (n.source_id, n.status, n.error_message, n.replication_slot_name)
                OR (
                    o.total_wal_size IS DISTINCT FROM n.total_wal_size
                    AND public.source_details_wal_class(public.source_details_wal_bytes(o.total_wal_size))
                    IS DISTINCT FROM public.source_details_wal_class(public.source_details_wal_bytes(n.total_wal_size))
                )
            )
            AND shown.source_id IS NOT NULL;
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
        SELECT bool_or(coalesce(o.config_key, n.config_key) LIKE 'WAL\_MONITORING\_THRESHOLD\_%') INTO is_changed
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (config_key)
        WHERE o.config_value IS DISTINCT FROM n.config_value;
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
    moved integer [];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.source_id) INTO changed FROM new_rows AS n WHERE n.source_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.source_id) INTO changed FROM old_rows AS o WHERE o.source_id IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        -- Joined once: with many wide rows that is most of what this trigger costs their writer.
        SELECT
            array_agg(DISTINCT shown.source_id) FILTER (WHERE shown.source_id IS NOT NULL),
            array_agg(id) FILTER (WHERE o.source_id IS DISTINCT FROM n.source_id)
        INTO changed, moved
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        CROSS JOIN LATERAL (VALUES (o.source_id), (n.source_id)) AS shown (source_id)
        WHERE
            (o.source_id, o.table_name, o.is_published, o.schema_table, o.column_order)
            IS DISTINCT FROM (n.source_id, n.table_name, n.is_published, n.schema_table, n.column_order);
        IF moved IS NOT NULL THEN
            -- A version that is being added to a moved table is told of to the source that it had.
            PERFORM FROM public.table_metadata_list AS t WHERE t.id = ANY (moved) FOR UPDATE;
        END IF;
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
        SELECT array_agg(DISTINCT shown.table_metadata_list_id) INTO tables
        FROM old_rows AS o
        FULL JOIN new_rows AS n USING (id)
        CROSS JOIN LATERAL (VALUES (o.table_metadata_list_id), (n.table_metadata_list_id)) AS shown (table_metadata_list_id)
        WHERE
            (o.table_metadata_list_id, o.version_schema)
            IS DISTINCT FROM (n.table_metadata_list_id, n.version_schema)
            AND shown.table_metadata_list_id IS NOT NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' OR (tables IS NOT NULL AND NOT public.source_details_sees_others()) THEN
        changed := '{0}';
    ELSIF TG_OP = 'INSERT' THEN
        -- The foreign key holds them where they are.
        SELECT array_agg(DISTINCT t.source_id) INTO changed
        FROM public.table_metadata_list AS t
        WHERE t.id = ANY (tables) AND t.source_id IS NOT NULL;
    ELSIF tables IS NOT NULL THEN
        SELECT
            CASE WHEN count(*) = (SELECT count(*) FROM public.table_metadata_list AS t WHERE t.id = ANY (tables))
                THEN array_agg(DISTINCT held.source_id) FILTER (WHERE held.source_id IS NOT NULL)
                -- One of them is being moved or deleted right now, and waiting for that could be a deadlock.
                ELSE '{0}'
            END
        INTO changed
        FROM (
            SELECT t.source_id
            FROM public.table_metadata_list AS t
            WHERE t.id = ANY (tables)
            FOR KEY SHARE SKIP LOCKED
        ) AS held;
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
