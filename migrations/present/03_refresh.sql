-- Refreshing the view, and recording what a refresh has covered.
--
-- This file relies on two facts:
-- * REFRESH takes its snapshot before it waits for its lock, so a refresh that waited may store older rows than
--   the one before it. Every refresh therefore leaves its snapshot in the view, and readers trust the view only
--   while that snapshot is the one that the log was pruned for.
-- * Two snapshots of one server are always nested: the later one sees everything that the earlier one sees.
-- * A table that ALTER TABLE has rewritten looks empty to every older snapshot (PostgreSQL manual, MVCC, Caveats). A refresh
--   that waited for it computes the view from nothing. So a refresh is noted only if its snapshot sees the tables as they
--   are.

-- Orders snapshots of one server: a later one has a higher xmax, or the same xmax with fewer transactions in progress.
-- `own` is the transaction that took the snapshot: its pg_current_snapshot() does not list it as in progress, those of
-- other transactions do. Without `own`, two refreshes of which one sees one commit more than the other could compare as
-- equal.
CREATE OR REPLACE FUNCTION public.source_details_snapshot_order(seen pg_snapshot, own xid8 DEFAULT NULL)
RETURNS bigint []
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        ARRAY[
            pg_snapshot_xmax(seen)::text::bigint,
            -(SELECT count(*) FROM pg_snapshot_xip(seen)) - coalesce((own < pg_snapshot_xmax(seen))::integer, 0)
        ]
    WHERE seen IS NOT NULL
$$;

-- Whether the view is populated (REFRESH ... WITH NO DATA empties it). A transaction with an old snapshot may see two
-- rows for the view in pg_class, from before and after a refresh.
CREATE OR REPLACE FUNCTION public.source_details_is_populated() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        NOT EXISTS (
            SELECT
            FROM pg_class AS c
            WHERE c.oid = 'public.source_details_tables'::regclass AND NOT c.relispopulated
        )
$$;

-- Whether a snapshot sees the tables that the view is computed from as they are: their rows in pg_class name the last
-- transaction that altered them. Their files are compared as well, for a caller who sees an old pg_class himself.
CREATE OR REPLACE FUNCTION public.source_details_sees_tables(seen pg_snapshot) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        NOT EXISTS (
            SELECT
            FROM pg_class AS c
            CROSS JOIN LATERAL (
                -- An xid has 32 bits; its epoch is that of the present, or the one before.
                SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next, c.xmin::text::bigint AS altered
            ) AS x
            CROSS JOIN LATERAL (
                SELECT x.altered + ((x.next - x.altered) / 4294967296) * 4294967296 AS altered
            ) AS whole
            WHERE
                c.oid IN (
                    'public.table_metadata_list'::regclass,
                    'public.history_schema_evolution'::regclass,
                    'public.source_details_other_tables'::regclass,
                    'public.source_details_other_versions'::regclass
                )
                AND (
                    -- Below 3 are the xids of rows that everybody sees.
                    (x.altered >= 3 AND NOT pg_visible_in_snapshot(whole.altered::text::xid8, seen))
                    OR c.relfilenode <> pg_relation_filenode(c.oid)
                )
        )
$$;

-- Sends notifications of `changed` sources: NULL is none, 0 is all. PostgreSQL sends equal ones of a transaction once.
-- `is_unsettled`: see 04_notify.sql, whose triggers have a short form of this for one source.
DROP FUNCTION IF EXISTS public.source_details_announce(integer [], boolean);
CREATE OR REPLACE FUNCTION public.source_details_announce(
    changed integer [], is_in_view boolean, is_unsettled boolean DEFAULT false
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF changed IS NULL THEN
        RETURN;
    END IF;
    IF is_unsettled THEN
        INSERT INTO public.source_details_log (source_id, is_unsettled)
        SELECT unnest(changed), true
        ON CONFLICT (source_id, xid) DO UPDATE SET is_unsettled = true;
    ELSIF is_in_view THEN
        INSERT INTO public.source_details_log (source_id) SELECT unnest(changed) ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(changed) > 100 OR 0 = ANY (changed) THEN
        PERFORM pg_notify('source_details_changed', '*');
    ELSE
        PERFORM pg_notify('source_details_changed', source_id::text) FROM unnest(changed) AS source_id;
    END IF;
END
$$;

-- After a refresh that every process is to evict every page for. It begins an epoch: other functions may have made the
-- texts. A process that hears of it late would make a page of the fragments that it has kept, and store it after the
-- others have evicted theirs.
CREATE OR REPLACE FUNCTION public.source_details_evict_all() RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.source_details_refresh_state SET epoch_xid = pg_current_xact_id();
    SELECT pg_notify('source_details_changed', '*')
$$;

-- Notes the refresh that the view's content comes from, and prunes the log rows that it covers.
-- Returns 'noted', 'known' (there was nothing new), or 'late' (a newer refresh was noted before, or a table was altered
-- since it read; nothing is pruned, and readers read live). A view without rows cannot hold its snapshot; then
-- `at_least`, taken before the refresh in the same transaction, bounds what is pruned.
CREATE OR REPLACE FUNCTION public.source_details_note_refresh(at_least pg_snapshot DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    noted record;
    seen pg_snapshot;
    by_xid xid8;
    settled integer [];
BEGIN
    IF NOT public.source_details_is_populated() THEN
        RETURN 'known';
    END IF;
    -- A first read, only for its lock: the view is locked before the state, as in a refresh. The other order could
    -- deadlock with a refresh.
    PERFORM FROM public.source_details_tables AS v WHERE v.view_snapshot IS NOT NULL;
    SELECT s.view_snapshot, s.view_xid INTO STRICT noted
    FROM public.source_details_refresh_state AS s
    FOR UPDATE;
    -- A second read, now that nobody else can note a refresh: one may have ended while this waited.
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
    -- Rows from the future were restored from another server's dump: their transaction numbers mean nothing here. A row of
    -- this very transaction is none of them: its number may be above the snapshot's xmax. Another refresh that did not see
    -- this transaction, and ends after it, relies on that row.
    IF EXISTS (
        SELECT FROM public.source_details_log AS l
        WHERE l.xid >= pg_snapshot_xmax(pg_current_snapshot()) AND l.xid <> pg_current_xact_id()
    ) THEN
        -- Waits for writers. One whose own number is by chance that of such a row has not added another.
        LOCK TABLE public.source_details_log IN SHARE ROW EXCLUSIVE MODE;
        DELETE FROM public.source_details_log AS l
        WHERE l.xid >= pg_snapshot_xmax(pg_current_snapshot()) AND l.xid <> pg_current_xact_id();
    END IF;
    IF
        pg_snapshot_xmax(noted.view_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
        AND public.source_details_snapshot_order(seen, by_xid)
        < public.source_details_snapshot_order(noted.view_snapshot, noted.view_xid)
    THEN
        RETURN 'late';
    END IF;
    IF NOT public.source_details_sees_tables(seen) THEN
        RETURN 'late';
    END IF;

    -- A transaction may write, refresh and write again: its own log rows stay until the next refresh. An unsettled row
    -- stays until this refresh has seen the end of every transaction of its time.
    WITH pruned AS (
        DELETE FROM public.source_details_log AS l
        WHERE
            pg_visible_in_snapshot(l.xid, seen)
            AND l.xid <> by_xid
            AND (NOT l.is_unsettled OR l.horizon <= pg_snapshot_xmin(seen))
        RETURNING l.source_id, l.is_unsettled
    )

    SELECT array_agg(DISTINCT p.source_id) FILTER (WHERE p.is_unsettled) INTO settled FROM pruned AS p;
    -- A row moved, and something below it was changed at the same time. That change was told under the old source's id
    -- only; open pages of the new source learn of it here.
    PERFORM public.source_details_announce(settled, is_in_view => false);
    UPDATE public.source_details_refresh_state
    SET view_snapshot = seen, view_xid = by_xid, refreshed_at = clock_timestamp();
    RETURN 'noted';
END
$$;

-- Whether there is an event trigger of that name, and it is not disabled. Only a superuser may create one.
CREATE OR REPLACE FUNCTION public.source_details_has_event_trigger(name text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_event_trigger AS e WHERE e.evtname = name AND e.evtenabled <> 'D')
$$;

-- Whether the view's content comes from a refresh that nobody has noted.
CREATE OR REPLACE FUNCTION public.source_details_has_unnoted_refresh() RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN public.source_details_is_populated()
        AND EXISTS (
            SELECT
            FROM public.source_details_tables AS v
            CROSS JOIN public.source_details_refresh_state AS s
            WHERE
                v.view_snapshot IS NOT NULL
                AND (v.view_snapshot::text, v.view_xid) IS DISTINCT FROM (s.view_snapshot::text, s.view_xid)
        );
END
$$;

-- Refreshes the view without blocking readers and prunes the log; for operators as well as for the service.
-- `evict`: every process drops every cached page, since the refresh may follow writes that no trigger saw.
CREATE OR REPLACE FUNCTION public.source_details_refresh(evict boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    started timestamptz;
    at_least pg_snapshot;
BEGIN
    -- Waits for the lock in a statement before the REFRESH, whose snapshot is then taken after the wait: calls keep
    -- their order.
    PERFORM pg_advisory_xact_lock(hashtext('source_details_refresh'));
    started := clock_timestamp();
    -- Another session may be altering a table. This statement waits for it, so that the REFRESH takes its snapshot
    -- afterwards. A REFRESH that waited itself would have taken its snapshot before.
    LOCK TABLE
        public.table_metadata_list, public.history_schema_evolution,
        public.source_details_other_tables, public.source_details_other_versions
        IN ACCESS SHARE MODE;
    IF NOT public.source_details_has_event_trigger('source_details_refreshed') THEN
        -- Only for its lock: it waits for a refresh by hand that is under way, and lets no other one begin. This refresh
        -- would overwrite that one before anybody noticed it.
        COMMENT ON MATERIALIZED VIEW public.source_details_tables IS NULL;
        evict := evict OR public.source_details_has_unnoted_refresh();
    END IF;
    at_least := pg_current_snapshot();
    PERFORM set_config('source_details.own_refresh', 'on', true);
    IF public.source_details_is_populated() THEN
        REFRESH MATERIALIZED VIEW CONCURRENTLY public.source_details_tables;
    ELSE
        REFRESH MATERIALIZED VIEW public.source_details_tables;
    END IF;
    PERFORM set_config('source_details.own_refresh', 'off', true);
    IF public.source_details_note_refresh(at_least) = 'late' THEN
        RAISE EXCEPTION 'a newer refresh of source_details_tables has finished already, or a table was altered meanwhile'
            USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE public.source_details_refresh_state
    SET duration = clock_timestamp() - started, refreshed_at = clock_timestamp(), refreshes = refreshes + 1;
    IF evict THEN
        PERFORM public.source_details_evict_all();
    END IF;
END
$$;

-- Whether the view depends on one of these tables; NULL if none of them is watched (04_notify.sql). A table that was
-- renamed still has the triggers.
CREATE OR REPLACE FUNCTION public.source_details_is_in_view(altered oid []) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT bool_or(w.is_in_view)
        FROM public.source_details_watched_tables AS w
        WHERE
            to_regclass('public.' || quote_ident(w.table_name)) = ANY (altered)
            OR EXISTS (
                SELECT
                FROM pg_trigger AS t
                WHERE
                    t.tgrelid = ANY (altered)
                    AND t.tgfoid = to_regproc(format('public.source_details_%s_changed', w.table_name))
            )
    );
END
$$;

-- For a database without the event trigger: tells of watched tables that were altered since the last look. Their rows in
-- pg_class name the transaction that altered them last.
CREATE OR REPLACE FUNCTION public.source_details_look_for_alterations() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    form text;
BEGIN
    SELECT string_agg(concat_ws('/', w.table_name, c.oid, c.xmin, c.relfilenode), ' ' ORDER BY w.table_name)
    INTO form
    FROM public.source_details_watched_tables AS w
    LEFT JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(w.table_name));
    UPDATE public.source_details_refresh_state AS s
    SET tables_form = form
    WHERE s.tables_form IS DISTINCT FROM form;
    IF FOUND THEN
        PERFORM public.source_details_announce('{0}', is_in_view => true);
    END IF;
END
$$;

-- Every process of the service calls this: it refreshes if the view is out of date, nobody else is refreshing, and the
-- last refresh is long enough ago that refreshing takes at most `share` of the time.
-- Outcomes: 'refreshed', 'clean' (nothing to do), 'unsettled' (nothing that a refresh could do yet), 'busy' or 'spaced';
-- with the last three, call again after wait_ms, which is an hour at most.
CREATE OR REPLACE FUNCTION public.source_details_refresh_if_due(
    share double precision, OUT outcome text, OUT wait_ms integer
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_stale boolean := NOT public.source_details_is_populated();
    now_due record;
BEGIN
    -- The horizon is this transaction's number: every transaction that was writing when the unsettled change committed has
    -- a lower one. A horizon above the highest number was restored from another server, and is given anew.
    UPDATE public.source_details_log AS l
    SET horizon = pg_current_xact_id()
    WHERE
        l.is_unsettled
        AND l.xid IS DISTINCT FROM pg_current_xact_id_if_assigned()
        AND (l.horizon IS NULL OR l.horizon > pg_snapshot_xmax(pg_current_snapshot()));
    IF NOT public.source_details_has_event_trigger('source_details_altered') THEN
        PERFORM public.source_details_look_for_alterations();
    END IF;
    -- Without the event trigger nothing announces a manual refresh. The process that notes it notifies the others.
    IF public.source_details_has_unnoted_refresh() THEN
        CASE public.source_details_note_refresh()
            WHEN 'noted' THEN PERFORM public.source_details_evict_all();
            WHEN 'late' THEN is_stale := true;
            ELSE NULL;
        END CASE;
    END IF;

    FOR attempt IN 1..2 LOOP
        SELECT
            s.duration,
            -- Never longer than the pause itself, even if the clock was set back.
            least(s.refreshed_at + spaced.pause - clock_timestamp(), spaced.pause) AS wait,
            is_stale
            OR EXISTS (
                SELECT
                FROM public.source_details_log AS l
                WHERE NOT l.is_unsettled OR l.horizon <= pg_snapshot_xmin(pg_current_snapshot())
            ) AS is_needed,
            EXISTS (SELECT FROM public.source_details_log AS l WHERE l.is_unsettled) AS is_unsettled
        INTO STRICT now_due
        FROM public.source_details_refresh_state AS s
        CROSS JOIN LATERAL (
            -- A million times the longest refresh is still a time that PostgreSQL can tell.
            SELECT s.duration * (1 / greatest(share, 1e-6) - 1) AS pause
        ) AS spaced;
        IF NOT now_due.is_needed AND now_due.is_unsettled THEN
            outcome := 'unsettled';
            wait_ms := 1000;
            RETURN;
        ELSIF NOT now_due.is_needed THEN
            outcome := 'clean';
            RETURN;
        ELSIF now_due.wait > interval '0' THEN
            outcome := 'spaced';
            wait_ms := least(ceil(extract(epoch FROM now_due.wait) * 1000), 3600000);
            RETURN;
        ELSIF attempt = 1 AND NOT pg_try_advisory_xact_lock(hashtext('source_details_refresh')) THEN
            outcome := 'busy';
            wait_ms := least(greatest(ceil(extract(epoch FROM now_due.duration) * 1000), 20), 3600000);
            RETURN;
        END IF;
        -- Checks again with the lock: another process may have refreshed between the check and the lock.
    END LOOP;
    PERFORM public.source_details_refresh(evict => false);
    outcome := 'refreshed';
END
$$;

-- An operator's REFRESH MATERIALIZED VIEW counts too: it prunes what it covers and evicts every cached page.
CREATE OR REPLACE FUNCTION public.source_details_on_refresh() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_event_trigger_ddl_commands() AS c
        WHERE c.objid = to_regclass('public.source_details_tables')
    ) THEN
        RETURN;
    END IF;
    IF public.source_details_is_populated() AND public.source_details_note_refresh() = 'late' THEN
        RAISE EXCEPTION 'a newer refresh of source_details_tables has finished already, or a table was altered meanwhile'
            USING
                ERRCODE = 'serialization_failure',
                DETAIL = 'This refresh read the tables earlier, then waited: it would put older rows into the view.',
                HINT = 'Nothing is lost. Run it again only if you want another refresh.';
    END IF;
    IF coalesce(current_setting('source_details.own_refresh', true), '') <> 'on' THEN
        PERFORM public.source_details_evict_all();
    END IF;
END
$$;

-- ALTER TABLE may change what rows say (ALTER COLUMN ... TYPE ... USING, ADD COLUMN ... DEFAULT), and fires no row's
-- trigger: every page is evicted, and the view is computed anew.
CREATE OR REPLACE FUNCTION public.source_details_on_alter() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_in_view boolean;
BEGIN
    SELECT public.source_details_is_in_view(array_agg(c.objid)) INTO is_in_view
    FROM pg_event_trigger_ddl_commands() AS c;
    IF is_in_view IS NOT NULL THEN
        PERFORM public.source_details_announce('{0}', is_in_view => is_in_view);
    END IF;
EXCEPTION
    WHEN undefined_table OR undefined_column OR undefined_function THEN
        -- Any table of the database may be altered: without our objects too. The service's health names what is missing.
        RAISE WARNING 'source_details: an ALTER TABLE is told to nobody (%)', SQLERRM;
END
$$;

-- Only a superuser may create an event trigger.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'source_details_refreshed') THEN
        CREATE EVENT TRIGGER source_details_refreshed ON ddl_command_end
            WHEN TAG IN ('REFRESH MATERIALIZED VIEW')
            EXECUTE FUNCTION public.source_details_on_refresh();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'source_details_altered') THEN
        CREATE EVENT TRIGGER source_details_altered ON ddl_command_end
            WHEN TAG IN ('ALTER TABLE')
            EXECUTE FUNCTION public.source_details_on_alter();
    END IF;
    IF EXISTS (
        SELECT FROM pg_event_trigger WHERE evtname = 'source_details_refreshed' AND evtenabled <> 'A'
    ) THEN
        ALTER EVENT TRIGGER source_details_refreshed ENABLE ALWAYS;
    END IF;
    IF EXISTS (
        SELECT FROM pg_event_trigger WHERE evtname = 'source_details_altered' AND evtenabled <> 'A'
    ) THEN
        ALTER EVENT TRIGGER source_details_altered ENABLE ALWAYS;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'no event trigger: only a superuser may create one'
            USING
                DETAIL = 'A manual REFRESH MATERIALIZED VIEW, and an ALTER TABLE, are found by polling, within seconds, instead of at once.',
                HINT = 'SELECT public.source_details_refresh() always evicts at once; or apply this file as superuser.';
END
$$;
