--
-- PostgreSQL database dump
--


-- Dumped from database version 16.14
-- Dumped by pg_dump version 16.14

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: source_details_announce(integer[], boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_announce(changed integer[], is_in_view boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_columns(jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_columns(schema_table jsonb) RETURNS TABLE(ordinal bigint, column_name text, shown json)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT
        listed.ordinal,
        listed.column_name,
        row_to_json(shown) AS shown
    FROM (
        SELECT
            0::bigint AS ordinal,
            coalesce(pair.value ->> 'column_name', pair.key) AS column_name,
            pair.value AS attributes
        FROM
            jsonb_each(
                CASE WHEN jsonb_typeof(schema_table) = 'object' THEN schema_table ELSE '{}' END
            ) AS pair
        UNION ALL
        SELECT
            item.ordinal,
            item.value ->> 'column_name' AS column_name,
            item.value AS attributes
        FROM
            jsonb_array_elements(
                CASE WHEN jsonb_typeof(schema_table) = 'array' THEN schema_table ELSE '[]' END
            ) WITH ORDINALITY AS item (value, ordinal)
    ) AS listed
    CROSS JOIN LATERAL (
        SELECT
            listed.column_name,
            CASE
                WHEN upper(listed.attributes ->> 'is_nullable') IN ('NO', 'FALSE') THEN 'NO' ELSE 'YES'
            END AS is_nullable,
            upper(coalesce(listed.attributes ->> 'real_data_type', listed.attributes ->> 'data_type'))
                AS real_data_type,
            CASE
                WHEN jsonb_typeof(listed.attributes -> 'numeric_precision') = 'number'
                    THEN listed.attributes -> 'numeric_precision'
            END AS numeric_precision,
            CASE
                WHEN jsonb_typeof(listed.attributes -> 'numeric_scale') = 'number'
                    THEN listed.attributes -> 'numeric_scale'
            END AS numeric_scale,
            coalesce(lower(listed.attributes ->> 'is_primary_key') = 'true', false) AS is_primary_key,
            coalesce(
                lower(listed.attributes ->> 'has_default') = 'true',
                listed.attributes ->> 'default_value' IS NOT NULL
            ) AS has_default,
            listed.attributes ->> 'default_value' AS default_value
    ) AS shown
    WHERE jsonb_typeof(listed.attributes) = 'object' AND listed.column_name IS NOT NULL
$$;


--
-- Name: source_details_destinations_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_destinations_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_history_schema_evolution_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_history_schema_evolution_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_is_populated(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_is_populated() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT
        NOT EXISTS (
            SELECT
            FROM pg_class AS c
            WHERE c.oid = 'public.source_details_tables'::regclass AND NOT c.relispopulated
        )
$$;


--
-- Name: source_details_note_refresh(pg_snapshot); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_note_refresh(at_least pg_snapshot DEFAULT NULL::pg_snapshot) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    noted record;
    seen pg_snapshot;
    by_xid xid8;
BEGIN
    IF NOT public.source_details_is_populated() THEN
        RETURN 'known';
    END IF;
    -- A first look, for its lock alone: the view's lock comes before the state's, as in a refresh. The other
    -- order could deadlock with one.
    PERFORM FROM public.source_details_tables AS v WHERE v.view_snapshot IS NOT NULL;
    SELECT s.view_snapshot, s.view_xid INTO STRICT noted
    FROM public.source_details_refresh_state AS s
    FOR UPDATE;
    -- A second look, now that nobody else can take note: a refresh may have ended while this waited.
    SELECT v.view_snapshot, v.view_xid INTO seen, by_xid
    FROM public.source_details_tables AS v
    WHERE v.view_snapshot IS NOT NULL;
    IF seen IS NULL THEN
        seen := at_least;
        by_xid := pg_current_xact_id();
    END IF;

    IF seen IS NULL OR (seen::text = noted.view_snapshot::text AND by_xid = noted.view_xid) THEN
        RETURN 'known';
    END IF;
    -- What is from the future was restored from another server's dump: its transaction numbers mean nothing here.
    DELETE FROM public.source_details_log AS l WHERE l.xid >= pg_snapshot_xmax(pg_current_snapshot());
    IF
        pg_snapshot_xmax(noted.view_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
        AND public.source_details_snapshot_order(seen, by_xid)
        < public.source_details_snapshot_order(noted.view_snapshot, noted.view_xid)
    THEN
        RETURN 'late';
    END IF;

    -- A transaction may write, refresh and write again: its own log rows wait for the next refresh.
    DELETE FROM public.source_details_log AS l
    WHERE pg_visible_in_snapshot(l.xid, seen) AND l.xid <> by_xid;
    UPDATE public.source_details_refresh_state
    SET view_snapshot = seen, view_xid = by_xid, refreshed_at = clock_timestamp();
    RETURN 'noted';
END
$$;


--
-- Name: source_details_on_refresh(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_on_refresh() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_event_trigger_ddl_commands() AS c
        WHERE c.objid = to_regclass('public.source_details_tables')
    ) THEN
        RETURN;
    END IF;
    IF public.source_details_is_populated() AND public.source_details_note_refresh() = 'late' THEN
        RAISE EXCEPTION 'a newer refresh of source_details_tables has finished already'
            USING
                ERRCODE = 'serialization_failure',
                DETAIL = 'This one read the tables earlier, then waited: it would put older rows into the view.',
                HINT = 'Nothing is lost. Run it again if the view should be computed once more.';
    END IF;
    IF coalesce(current_setting('source_details.own_refresh', true), '') <> 'on' THEN
        PERFORM pg_notify('source_details_changed', '*');
    END IF;
END
$$;


--
-- Name: source_details_pipelines_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_pipelines_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_pipelines_destination_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_pipelines_destination_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_refresh(boolean); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_refresh(evict boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    started timestamptz;
    at_least pg_snapshot;
BEGIN
    -- In a statement before the REFRESH, so that its snapshot is taken after the wait: calls keep their order.
    PERFORM pg_advisory_xact_lock(hashtext('source_details_refresh'));
    started := clock_timestamp();
    at_least := pg_current_snapshot();
    PERFORM set_config('source_details.own_refresh', 'on', true);
    IF public.source_details_is_populated() THEN
        REFRESH MATERIALIZED VIEW CONCURRENTLY public.source_details_tables;
    ELSE
        REFRESH MATERIALIZED VIEW public.source_details_tables;
    END IF;
    PERFORM set_config('source_details.own_refresh', 'off', true);
    IF public.source_details_note_refresh(at_least) = 'late' THEN
        RAISE EXCEPTION 'a newer refresh of source_details_tables has finished already'
            USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE public.source_details_refresh_state
    SET duration = clock_timestamp() - started, refreshed_at = clock_timestamp(), refreshes = refreshes + 1;
    IF evict THEN
        PERFORM pg_notify('source_details_changed', '*');
    END IF;
END
$$;


--
-- Name: source_details_refresh_if_due(double precision); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_refresh_if_due(share double precision, OUT outcome text, OUT wait_ms integer) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    is_stale boolean := true;
    now_due record;
BEGIN
    -- A refresh by hand that no event trigger told of: whoever notes it tells.
    IF public.source_details_is_populated() THEN
        is_stale := false;
        IF EXISTS (
            SELECT
            FROM public.source_details_tables AS v
            CROSS JOIN public.source_details_refresh_state AS s
            WHERE
                v.view_snapshot IS NOT NULL
                AND (v.view_snapshot::text, v.view_xid) IS DISTINCT FROM (s.view_snapshot::text, s.view_xid)
        ) THEN
            CASE public.source_details_note_refresh()
                WHEN 'noted' THEN PERFORM pg_notify('source_details_changed', '*');
                WHEN 'late' THEN is_stale := true;
                ELSE NULL;
            END CASE;
        END IF;
    END IF;

    FOR attempt IN 1..2 LOOP
        SELECT
            s.duration,
            -- No longer than the pause itself, whatever became of the clock.
            least(
                s.refreshed_at + s.duration * (1 / share - 1) - clock_timestamp(), s.duration * (1 / share - 1)
            ) AS wait,
            is_stale OR EXISTS (SELECT FROM public.source_details_log) AS is_needed
        INTO STRICT now_due
        FROM public.source_details_refresh_state AS s;
        IF NOT now_due.is_needed THEN
            outcome := 'clean';
            RETURN;
        ELSIF now_due.wait > interval '0' THEN
            outcome := 'spaced';
            wait_ms := ceil(extract(epoch FROM now_due.wait) * 1000);
            RETURN;
        ELSIF attempt = 1 AND NOT pg_try_advisory_xact_lock(hashtext('source_details_refresh')) THEN
            outcome := 'busy';
            wait_ms := greatest(ceil(extract(epoch FROM now_due.duration) * 1000), 20);
            RETURN;
        END IF;
        -- Once more with the lock: whoever held it may have done the work in between.
    END LOOP;
    PERFORM public.source_details_refresh(evict => false);
    outcome := 'refreshed';
END
$$;


--
-- Name: source_details_sees_others(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_sees_others() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
$$;


--
-- Name: source_details_settings_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_settings_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_snapshot_order(pg_snapshot, xid8); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_snapshot_order(seen pg_snapshot, own xid8 DEFAULT NULL::xid8) RETURNS bigint[]
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT
        ARRAY[
            pg_snapshot_xmax(seen)::text::bigint,
            -(SELECT count(*) FROM pg_snapshot_xip(seen)) - coalesce((own < pg_snapshot_xmax(seen))::integer, 0)
        ]
    WHERE seen IS NOT NULL
$$;


--
-- Name: source_details_some_time(timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_some_time(first timestamp with time zone, second timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT
        coalesce(
            public.source_details_time(first), public.source_details_time(second), public.source_details_time('epoch')
        )
$$;


--
-- Name: source_details_sources_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_sources_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_table_metadata_list_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_table_metadata_list_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


--
-- Name: source_details_time(timestamp with time zone); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_time(moment timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT
        CASE
            WHEN moment >= '0001-01-02 00:00:00+00' AND moment < '9999-12-31 00:00:00+00'
                THEN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
        END
$$;


--
-- Name: source_details_wal_bytes(text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_wal_bytes(total_wal_size text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT (part[1]::numeric * 1024 ^ (position(upper(left(part[2], 1)) IN 'BKMGTP') - 1)::numeric)::bigint
    FROM regexp_match(total_wal_size, '^\s*(\d{1,6}(?:\.\d{1,9})?)\s*(bytes|B|kB|MB|GB|TB)\s*$', 'i') AS part
$_$;


--
-- Name: source_details_wal_class(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_wal_class(wal_bytes bigint) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;


--
-- Name: source_details_wal_monitor_changed(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.source_details_wal_monitor_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: destinations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.destinations (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    type character varying(50) DEFAULT 'SNOWFLAKE'::character varying NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);


--
-- Name: destinations_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.destinations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: destinations_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.destinations_id_seq OWNED BY public.destinations.id;


--
-- Name: history_schema_evolution; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.history_schema_evolution (
    id integer NOT NULL,
    table_metadata_list_id integer NOT NULL,
    schema_table_old jsonb,
    schema_table_new jsonb,
    changes_type character varying(20),
    version_schema integer,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);


--
-- Name: history_schema_evolution_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.history_schema_evolution_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: history_schema_evolution_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.history_schema_evolution_id_seq OWNED BY public.history_schema_evolution.id;


--
-- Name: pipelines; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.pipelines (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    source_id integer NOT NULL,
    status character varying(20) DEFAULT 'PAUSE'::character varying NOT NULL,
    ready_refresh boolean DEFAULT false NOT NULL,
    last_refresh_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);


--
-- Name: pipelines_destination; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.pipelines_destination (
    id integer NOT NULL,
    pipeline_id integer NOT NULL,
    destination_id integer NOT NULL,
    is_error boolean DEFAULT false NOT NULL,
    error_message text,
    last_error_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);


--
-- Name: pipelines_destination_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.pipelines_destination_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: pipelines_destination_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.pipelines_destination_id_seq OWNED BY public.pipelines_destination.id;


--
-- Name: pipelines_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.pipelines_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: pipelines_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.pipelines_id_seq OWNED BY public.pipelines.id;


--
-- Name: rosetta_setting_configuration; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.rosetta_setting_configuration (
    id integer NOT NULL,
    config_key character varying(255) NOT NULL,
    config_value character varying(255) NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP
);


--
-- Name: rosetta_setting_configuration_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.rosetta_setting_configuration_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: rosetta_setting_configuration_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.rosetta_setting_configuration_id_seq OWNED BY public.rosetta_setting_configuration.id;


--
-- Name: source_details_lag; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_lag (
    source_id integer NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    lag_bytes bigint,
    retained_bytes bigint,
    confirmed_lsn pg_lsn,
    restart_lsn pg_lsn,
    wal_status text,
    safe_wal_size bigint,
    inactive_since timestamp with time zone
);


--
-- Name: TABLE source_details_lag; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.source_details_lag IS 'Replication lag of each source over the last day, as source_details'' WAL monitor saw it.';


--
-- Name: table_metadata_list; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.table_metadata_list (
    id integer NOT NULL,
    source_id integer NOT NULL,
    table_name character varying(255),
    schema_table jsonb,
    is_changes_schema boolean DEFAULT false,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now(),
    is_published boolean DEFAULT true NOT NULL,
    column_order text[]
);


--
-- Name: COLUMN table_metadata_list.is_published; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.table_metadata_list.is_published IS 'Whether the table was in its source''s publication at the last sync.';


--
-- Name: COLUMN table_metadata_list.column_order; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.table_metadata_list.column_order IS 'The column names in the table''s own order, which the keys of schema_table cannot hold.';


--
-- Name: source_details_live; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.source_details_live AS
 SELECT t.id AS table_id,
    t.source_id,
    (named.table_name COLLATE "C") AS table_name,
    t.is_published,
    versioned.version,
    concat('{"id":', t.id, ',"table_name":', to_json(named.table_name), ',"version":', versioned.version, ',"schema_table":[', described.columns, ']}') AS fragment
   FROM (((public.table_metadata_list t
     CROSS JOIN LATERAL ( SELECT (COALESCE(t.table_name, 'Unknown'::character varying))::text AS table_name) named)
     CROSS JOIN LATERAL ( SELECT COALESCE(( SELECT max(h.version_schema) AS max
                   FROM public.history_schema_evolution h
                  WHERE (h.table_metadata_list_id = t.id)), 1) AS version) versioned)
     CROSS JOIN LATERAL ( SELECT string_agg((listed.shown)::text, ','::text ORDER BY (array_position(t.column_order, listed.column_name)), listed.ordinal, (listed.column_name COLLATE "C")) AS columns
           FROM public.source_details_columns(t.schema_table) listed(ordinal, column_name, shown)) described);


--
-- Name: source_details_log; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_log (
    source_id integer NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    noted_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: TABLE source_details_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.source_details_log IS 'Sources (0: all) that a transaction changed and that source_details_tables does not show yet. Filled by triggers, pruned by refreshes.';


--
-- Name: source_details_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_migrations (
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: source_details_refresh_state; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_refresh_state (
    only_row boolean DEFAULT true NOT NULL,
    view_snapshot pg_snapshot,
    view_xid xid8,
    refreshed_at timestamp with time zone,
    duration interval DEFAULT '00:00:00'::interval NOT NULL,
    refreshes bigint DEFAULT 0 NOT NULL,
    CONSTRAINT source_details_refresh_state_only_row_check CHECK (only_row)
);


--
-- Name: source_details_schedule; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_schedule (
    source_id integer NOT NULL,
    due_at timestamp with time zone NOT NULL,
    claimed_until timestamp with time zone,
    failures integer DEFAULT 0 NOT NULL,
    failing_since timestamp with time zone,
    last_error text
);


--
-- Name: TABLE source_details_schedule; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.source_details_schedule IS 'When source_details syncs each source next by itself. To have one synced at once: UPDATE ... SET due_at = now().';


--
-- Name: sources; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.sources (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    pg_host character varying(255) NOT NULL,
    pg_port integer DEFAULT 5432 NOT NULL,
    pg_database character varying(255) NOT NULL,
    pg_username character varying(255) NOT NULL,
    pg_password character varying(255),
    publication_name character varying(255) NOT NULL,
    replication_name character varying(255) NOT NULL,
    is_publication_enabled boolean DEFAULT false NOT NULL,
    is_replication_enabled boolean DEFAULT false NOT NULL,
    last_check_replication_publication timestamp with time zone,
    total_tables integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);


--
-- Name: source_details_sources; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.source_details_sources AS
 SELECT public.source_details_some_time(created_at, updated_at) AS created_at,
    public.source_details_some_time(updated_at, created_at) AS updated_at,
    name,
    pg_host,
    pg_port,
    pg_database,
    pg_username,
    publication_name,
    replication_name,
    id,
    is_publication_enabled,
    is_replication_enabled,
    public.source_details_time(last_check_replication_publication) AS last_check_replication_publication,
    total_tables
   FROM public.sources s;


--
-- Name: source_details_sync_state; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_sync_state (
    source_id integer NOT NULL,
    incarnation text NOT NULL,
    source_snapshot pg_snapshot NOT NULL,
    synced_at timestamp with time zone NOT NULL,
    number bigint DEFAULT 1 NOT NULL
);


--
-- Name: source_details_tables; Type: MATERIALIZED VIEW; Schema: public; Owner: -
--

CREATE MATERIALIZED VIEW public.source_details_tables AS
 SELECT live.table_id,
    live.source_id,
    live.table_name,
    live.is_published,
    live.version,
    live.fragment,
        CASE
            WHEN lowest.is_this THEN pg_current_snapshot()
            ELSE NULL::pg_snapshot
        END AS view_snapshot,
        CASE
            WHEN lowest.is_this THEN pg_current_xact_id()
            ELSE NULL::xid8
        END AS view_xid
   FROM (public.source_details_live live
     CROSS JOIN LATERAL ( SELECT (live.table_id = ( SELECT min(t.id) AS min
                   FROM public.table_metadata_list t)) AS is_this) lowest)
  WITH NO DATA;


--
-- Name: source_details_wal_round; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.source_details_wal_round (
    only_row boolean DEFAULT true NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT source_details_wal_round_only_row_check CHECK (only_row)
);


--
-- Name: sources_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.sources_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: sources_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.sources_id_seq OWNED BY public.sources.id;


--
-- Name: table_metadata_list_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.table_metadata_list_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: table_metadata_list_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.table_metadata_list_id_seq OWNED BY public.table_metadata_list.id;


--
-- Name: wal_monitor; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.wal_monitor (
    id integer NOT NULL,
    source_id integer NOT NULL,
    wal_lsn character varying(255),
    wal_position bigint,
    last_wal_received timestamp with time zone,
    last_transaction_time timestamp with time zone,
    replication_slot_name character varying(255),
    replication_lag_bytes bigint,
    total_wal_size character varying(255),
    status character varying(20) DEFAULT 'ACTIVE'::character varying,
    error_message text,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);


--
-- Name: wal_monitor_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.wal_monitor_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: wal_monitor_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.wal_monitor_id_seq OWNED BY public.wal_monitor.id;


--
-- Name: destinations id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.destinations ALTER COLUMN id SET DEFAULT nextval('public.destinations_id_seq'::regclass);


--
-- Name: history_schema_evolution id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.history_schema_evolution ALTER COLUMN id SET DEFAULT nextval('public.history_schema_evolution_id_seq'::regclass);


--
-- Name: pipelines id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines ALTER COLUMN id SET DEFAULT nextval('public.pipelines_id_seq'::regclass);


--
-- Name: pipelines_destination id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines_destination ALTER COLUMN id SET DEFAULT nextval('public.pipelines_destination_id_seq'::regclass);


--
-- Name: rosetta_setting_configuration id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.rosetta_setting_configuration ALTER COLUMN id SET DEFAULT nextval('public.rosetta_setting_configuration_id_seq'::regclass);


--
-- Name: sources id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources ALTER COLUMN id SET DEFAULT nextval('public.sources_id_seq'::regclass);


--
-- Name: table_metadata_list id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.table_metadata_list ALTER COLUMN id SET DEFAULT nextval('public.table_metadata_list_id_seq'::regclass);


--
-- Name: wal_monitor id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.wal_monitor ALTER COLUMN id SET DEFAULT nextval('public.wal_monitor_id_seq'::regclass);


--
-- Data for Name: destinations; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: history_schema_evolution; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.history_schema_evolution VALUES (1, 1, '{}', '{"id": {"column_name": "id", "has_default": false, "is_nullable": "NO", "default_value": null, "numeric_scale": 0, "is_primary_key": true, "real_data_type": "BIGINT", "numeric_precision": 64}}', 'INITIAL_LOAD', 1, '2026-11-28 11:43:50.51304+00', '2026-11-28 11:43:50.51304+00');


--
-- Data for Name: pipelines; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: pipelines_destination; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: rosetta_setting_configuration; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.rosetta_setting_configuration VALUES (1, 'WAL_MONITORING_THRESHOLD_WARNING', '3000', '2026-11-28 11:43:50.428953+00', '2026-11-28 11:43:50.428953+00');
INSERT INTO public.rosetta_setting_configuration VALUES (2, 'WAL_MONITORING_THRESHOLD_ERROR', '6000', '2026-11-28 11:43:50.428953+00', '2026-11-28 11:43:50.428953+00');


--
-- Data for Name: source_details_lag; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.source_details_lag VALUES (1, '2026-11-28 11:43:50.514668+00', 42, NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: source_details_log; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: source_details_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.source_details_migrations VALUES ('001_base_tables.sql', '26703fa13e881b428c13f45864b7b05e754783725c273a3360171f5b9addb00f', '2026-11-28 11:43:50.428953+00');
INSERT INTO public.source_details_migrations VALUES ('007_optimize_source_details_performance.sql', '9277773b8e5be925556551a8289040bbce2fdf52bb8c9a8a709eadf589cb4125', '2026-11-28 11:43:50.451221+00');
INSERT INTO public.source_details_migrations VALUES ('008_source_details_view.sql', 'd511b144c3ff772873743e9ac09b7baae253bc7b042e25b2b16d1032bf9b2f72', '2026-11-28 11:43:50.456458+00');
INSERT INTO public.source_details_migrations VALUES ('009_source_details_refresh.sql', '01a6aaeea932023c1e1d3691aa47bb695c7bcadcaa6c8f9dce3bb99935b81cc3', '2026-11-28 11:43:50.4686+00');
INSERT INTO public.source_details_migrations VALUES ('010_source_details_notify.sql', '81fbfd257f5439091265b84bb310135ad75e49ae84bd0b44fa3cc0128d1766ee', '2026-11-28 11:43:50.473238+00');
INSERT INTO public.source_details_migrations VALUES ('011_refresh_source_details.sql', 'd60020cd59133ab70372f72577341de66da547c1023226483261de7353da69d3', '2026-11-28 11:43:50.482589+00');
INSERT INTO public.source_details_migrations VALUES ('012_source_details_schedule.sql', '7ca671e25543a2bfbffef4f4ae1b5a311d3cde071372ab748aa620027d42904b', '2026-11-28 11:43:50.493335+00');
INSERT INTO public.source_details_migrations VALUES ('013_source_details_wal.sql', '0498c75cd9f9b0ebf0dd4d6b9641346dd35d981cac7a18e5163ec72c9ba39f9f', '2026-11-28 11:43:50.496886+00');


--
-- Data for Name: source_details_refresh_state; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.source_details_refresh_state VALUES (true, '747:747:', '747', '2026-11-28 11:43:50.533047+00', '00:00:00.012628', 2);


--
-- Data for Name: source_details_schedule; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: source_details_sync_state; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.source_details_sync_state VALUES (1, '7/1', '10:10:', '2026-11-28 11:43:50.515304+00', 1);


--
-- Data for Name: source_details_wal_round; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.source_details_wal_round VALUES (true, '2026-11-28 11:43:50.496886+00');


--
-- Data for Name: sources; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.sources VALUES (1, 'shop', '127.0.0.1', 5432, 'shop', 'rosetta', NULL, 'rosetta', 'rosetta_slot', false, false, NULL, 0, '2026-11-28 11:43:50.507083+00', '2026-11-28 11:43:50.507083+00');


--
-- Data for Name: table_metadata_list; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.table_metadata_list VALUES (1, 1, 'orders', '{"id": {"column_name": "id", "has_default": false, "is_nullable": "NO", "default_value": null, "numeric_scale": 0, "is_primary_key": true, "real_data_type": "BIGINT", "numeric_precision": 64}}', false, '2026-11-28 11:43:50.510732+00', '2026-11-28 11:43:50.510732+00', true, '{id}');


--
-- Data for Name: wal_monitor; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Name: destinations_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.destinations_id_seq', 1, false);


--
-- Name: history_schema_evolution_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.history_schema_evolution_id_seq', 1, true);


--
-- Name: pipelines_destination_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.pipelines_destination_id_seq', 1, false);


--
-- Name: pipelines_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.pipelines_id_seq', 1, false);


--
-- Name: rosetta_setting_configuration_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.rosetta_setting_configuration_id_seq', 2, true);


--
-- Name: sources_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.sources_id_seq', 1, true);


--
-- Name: table_metadata_list_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.table_metadata_list_id_seq', 1, true);


--
-- Name: wal_monitor_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.wal_monitor_id_seq', 1, false);


--
-- Name: destinations destinations_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.destinations
    ADD CONSTRAINT destinations_name_key UNIQUE (name);


--
-- Name: destinations destinations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.destinations
    ADD CONSTRAINT destinations_pkey PRIMARY KEY (id);


--
-- Name: history_schema_evolution history_schema_evolution_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.history_schema_evolution
    ADD CONSTRAINT history_schema_evolution_pkey PRIMARY KEY (id);


--
-- Name: pipelines_destination pipelines_destination_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines_destination
    ADD CONSTRAINT pipelines_destination_pkey PRIMARY KEY (id);


--
-- Name: pipelines pipelines_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines
    ADD CONSTRAINT pipelines_name_key UNIQUE (name);


--
-- Name: pipelines pipelines_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines
    ADD CONSTRAINT pipelines_pkey PRIMARY KEY (id);


--
-- Name: rosetta_setting_configuration rosetta_setting_configuration_config_key_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.rosetta_setting_configuration
    ADD CONSTRAINT rosetta_setting_configuration_config_key_key UNIQUE (config_key);


--
-- Name: rosetta_setting_configuration rosetta_setting_configuration_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.rosetta_setting_configuration
    ADD CONSTRAINT rosetta_setting_configuration_pkey PRIMARY KEY (id);


--
-- Name: source_details_lag source_details_lag_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_lag
    ADD CONSTRAINT source_details_lag_pkey PRIMARY KEY (source_id, seen_at);


--
-- Name: source_details_log source_details_log_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_log
    ADD CONSTRAINT source_details_log_pkey PRIMARY KEY (source_id, xid);


--
-- Name: source_details_migrations source_details_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_migrations
    ADD CONSTRAINT source_details_migrations_pkey PRIMARY KEY (name);


--
-- Name: source_details_refresh_state source_details_refresh_state_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_refresh_state
    ADD CONSTRAINT source_details_refresh_state_pkey PRIMARY KEY (only_row);


--
-- Name: source_details_schedule source_details_schedule_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_schedule
    ADD CONSTRAINT source_details_schedule_pkey PRIMARY KEY (source_id);


--
-- Name: source_details_sync_state source_details_sync_state_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_sync_state
    ADD CONSTRAINT source_details_sync_state_pkey PRIMARY KEY (source_id);


--
-- Name: source_details_wal_round source_details_wal_round_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_wal_round
    ADD CONSTRAINT source_details_wal_round_pkey PRIMARY KEY (only_row);


--
-- Name: sources sources_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT sources_name_key UNIQUE (name);


--
-- Name: sources sources_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT sources_pkey PRIMARY KEY (id);


--
-- Name: table_metadata_list table_metadata_list_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.table_metadata_list
    ADD CONSTRAINT table_metadata_list_pkey PRIMARY KEY (id);


--
-- Name: wal_monitor unique_source_wal; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.wal_monitor
    ADD CONSTRAINT unique_source_wal UNIQUE (source_id);


--
-- Name: history_schema_evolution uq_history_schema_version; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.history_schema_evolution
    ADD CONSTRAINT uq_history_schema_version UNIQUE (table_metadata_list_id, version_schema);


--
-- Name: table_metadata_list uq_table_metadata_source_table; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.table_metadata_list
    ADD CONSTRAINT uq_table_metadata_source_table UNIQUE (source_id, table_name);


--
-- Name: wal_monitor wal_monitor_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.wal_monitor
    ADD CONSTRAINT wal_monitor_pkey PRIMARY KEY (id);


--
-- Name: idx_history_schema_evolution_table_version_composite; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_history_schema_evolution_table_version_composite ON public.history_schema_evolution USING btree (table_metadata_list_id, version_schema DESC);


--
-- Name: idx_pipelines_destination_composite; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_pipelines_destination_composite ON public.pipelines_destination USING btree (pipeline_id, destination_id, is_error);


--
-- Name: idx_pipelines_source_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_pipelines_source_id ON public.pipelines USING btree (source_id);


--
-- Name: idx_table_metadata_list_source_id_covering; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_table_metadata_list_source_id_covering ON public.table_metadata_list USING btree (source_id, id) INCLUDE (table_name);


--
-- Name: source_details_schedule_due_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX source_details_schedule_due_at ON public.source_details_schedule USING btree (due_at);


--
-- Name: source_details_tables_source_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX source_details_tables_source_id ON public.source_details_tables USING btree (source_id, table_name, table_id);


--
-- Name: source_details_tables_table_id; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX source_details_tables_table_id ON public.source_details_tables USING btree (table_id);


--
-- Name: source_details_tables_view_snapshot; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX source_details_tables_view_snapshot ON public.source_details_tables USING btree ((true)) WHERE (view_snapshot IS NOT NULL);


--
-- Name: destinations source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.destinations REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_destinations_changed();

ALTER TABLE public.destinations ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: history_schema_evolution source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.history_schema_evolution REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_history_schema_evolution_changed();

ALTER TABLE public.history_schema_evolution ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: pipelines source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.pipelines REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_changed();

ALTER TABLE public.pipelines ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: pipelines_destination source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.pipelines_destination REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_destination_changed();

ALTER TABLE public.pipelines_destination ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: rosetta_setting_configuration source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.rosetta_setting_configuration REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_settings_changed();

ALTER TABLE public.rosetta_setting_configuration ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: sources source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.sources REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_sources_changed();

ALTER TABLE public.sources ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: table_metadata_list source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.table_metadata_list REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_table_metadata_list_changed();

ALTER TABLE public.table_metadata_list ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: wal_monitor source_details_delete; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_delete AFTER DELETE ON public.wal_monitor REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_wal_monitor_changed();

ALTER TABLE public.wal_monitor ENABLE ALWAYS TRIGGER source_details_delete;


--
-- Name: destinations source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.destinations REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_destinations_changed();

ALTER TABLE public.destinations ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: history_schema_evolution source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.history_schema_evolution REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_history_schema_evolution_changed();

ALTER TABLE public.history_schema_evolution ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: pipelines source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.pipelines REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_changed();

ALTER TABLE public.pipelines ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: pipelines_destination source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.pipelines_destination REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_destination_changed();

ALTER TABLE public.pipelines_destination ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: rosetta_setting_configuration source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.rosetta_setting_configuration REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_settings_changed();

ALTER TABLE public.rosetta_setting_configuration ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: sources source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.sources REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_sources_changed();

ALTER TABLE public.sources ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: table_metadata_list source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.table_metadata_list REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_table_metadata_list_changed();

ALTER TABLE public.table_metadata_list ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: wal_monitor source_details_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_insert AFTER INSERT ON public.wal_monitor REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_wal_monitor_changed();

ALTER TABLE public.wal_monitor ENABLE ALWAYS TRIGGER source_details_insert;


--
-- Name: destinations source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.destinations FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_destinations_changed();

ALTER TABLE public.destinations ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: history_schema_evolution source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.history_schema_evolution FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_history_schema_evolution_changed();

ALTER TABLE public.history_schema_evolution ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: pipelines source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.pipelines FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_changed();

ALTER TABLE public.pipelines ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: pipelines_destination source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.pipelines_destination FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_destination_changed();

ALTER TABLE public.pipelines_destination ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: rosetta_setting_configuration source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.rosetta_setting_configuration FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_settings_changed();

ALTER TABLE public.rosetta_setting_configuration ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: sources source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.sources FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_sources_changed();

ALTER TABLE public.sources ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: table_metadata_list source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.table_metadata_list FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_table_metadata_list_changed();

ALTER TABLE public.table_metadata_list ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: wal_monitor source_details_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_truncate AFTER TRUNCATE ON public.wal_monitor FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_wal_monitor_changed();

ALTER TABLE public.wal_monitor ENABLE ALWAYS TRIGGER source_details_truncate;


--
-- Name: destinations source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.destinations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_destinations_changed();

ALTER TABLE public.destinations ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: history_schema_evolution source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.history_schema_evolution REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_history_schema_evolution_changed();

ALTER TABLE public.history_schema_evolution ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: pipelines source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.pipelines REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_changed();

ALTER TABLE public.pipelines ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: pipelines_destination source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.pipelines_destination REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_pipelines_destination_changed();

ALTER TABLE public.pipelines_destination ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: rosetta_setting_configuration source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.rosetta_setting_configuration REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_settings_changed();

ALTER TABLE public.rosetta_setting_configuration ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: sources source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.sources REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_sources_changed();

ALTER TABLE public.sources ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: table_metadata_list source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.table_metadata_list REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_table_metadata_list_changed();

ALTER TABLE public.table_metadata_list ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: wal_monitor source_details_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER source_details_update AFTER UPDATE ON public.wal_monitor REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.source_details_wal_monitor_changed();

ALTER TABLE public.wal_monitor ENABLE ALWAYS TRIGGER source_details_update;


--
-- Name: history_schema_evolution history_schema_evolution_table_metadata_list_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.history_schema_evolution
    ADD CONSTRAINT history_schema_evolution_table_metadata_list_id_fkey FOREIGN KEY (table_metadata_list_id) REFERENCES public.table_metadata_list(id) ON DELETE CASCADE;


--
-- Name: pipelines_destination pipelines_destination_destination_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines_destination
    ADD CONSTRAINT pipelines_destination_destination_id_fkey FOREIGN KEY (destination_id) REFERENCES public.destinations(id) ON DELETE CASCADE;


--
-- Name: pipelines_destination pipelines_destination_pipeline_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines_destination
    ADD CONSTRAINT pipelines_destination_pipeline_id_fkey FOREIGN KEY (pipeline_id) REFERENCES public.pipelines(id) ON DELETE CASCADE;


--
-- Name: pipelines pipelines_source_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pipelines
    ADD CONSTRAINT pipelines_source_id_fkey FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: source_details_lag source_details_lag_source_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_lag
    ADD CONSTRAINT source_details_lag_source_id_fkey FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: source_details_schedule source_details_schedule_source_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_schedule
    ADD CONSTRAINT source_details_schedule_source_id_fkey FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: source_details_sync_state source_details_sync_state_source_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.source_details_sync_state
    ADD CONSTRAINT source_details_sync_state_source_id_fkey FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: table_metadata_list table_metadata_list_source_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.table_metadata_list
    ADD CONSTRAINT table_metadata_list_source_id_fkey FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: wal_monitor wal_monitor_source_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.wal_monitor
    ADD CONSTRAINT wal_monitor_source_id_fkey FOREIGN KEY (source_id) REFERENCES public.sources(id) ON DELETE CASCADE;


--
-- Name: source_details_refreshed; Type: EVENT TRIGGER; Schema: -; Owner: -
--

CREATE EVENT TRIGGER source_details_refreshed ON ddl_command_end
         WHEN TAG IN ('REFRESH MATERIALIZED VIEW')
   EXECUTE FUNCTION public.source_details_on_refresh();

ALTER EVENT TRIGGER source_details_refreshed ENABLE ALWAYS;


--
-- Name: source_details_tables; Type: MATERIALIZED VIEW DATA; Schema: public; Owner: -
--

REFRESH MATERIALIZED VIEW public.source_details_tables;


--
-- PostgreSQL database dump complete
--


