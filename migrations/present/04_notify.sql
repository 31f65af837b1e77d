-- NOTIFY source_details_changed, with a source's id or '*', when something that its page shows has changed.
--
-- The two lists below say what pages depend on. From them this file makes one trigger function for each table, and its
-- four triggers: statement-level, with transition tables, so that a statement costs one call however many rows it
-- changes. To watch one more column, add one line to the second list; to watch one more table, one line to the first.
--
-- Each trigger compares only the listed columns: a no-op update, and columns that merely tick (updated_at, the LSNs,
-- lags and timestamps of wal_monitor), notify nobody. Changes that the materialized view depends on are also appended
-- to the log, and what 02_timeline.sql lists is told there. The functions run with their owner's rights, because the
-- programs that write to these tables have no rights on the log and the timeline.
--
-- Replacing a trigger takes a short lock on its table; triggers that are correct are not replaced.
-- PGOPTIONS='-c lock_timeout=500ms' makes psql give up rather than queue among writers (rosetta migrate does so, and
-- tries again). Apply 05_compute.sql after this file: it reads what was written without triggers.

-- The watched tables, each with an integer primary key `id`.
--
--   key         the expression that leads from a row, `changed_row`, to its source
--   way         how a source is found: NULL if `key` is the source's id (0: every source), else a FROM clause over
--               `keys`, in which `parent` has the source_id
--   is_known    with a way: whether it has led to every source, as an expression over the rows that it found
--   is_in_view  whether the materialized view depends on the table
--   is_parent   whether the way to other rows leads over this table's
CREATE OR REPLACE VIEW public.source_details_watched_tables (table_name, key, way, is_known, is_in_view, is_parent) AS
VALUES
    ('sources', 'changed_row.id', NULL, NULL, false, false),
    ('pipelines', 'changed_row.source_id', NULL, NULL, false, true),
    ('wal_monitor', 'changed_row.source_id', NULL, NULL, false, false),
    ('table_metadata_list', 'changed_row.source_id', NULL, NULL, true, true),
    ('source_details_other_tables', 'changed_row.source_id', NULL, NULL, true, true),
    (
        'rosetta_setting_configuration',
        -- The thresholds decide every source's WAL class.
        'CASE WHEN changed_row.config_key LIKE ''WAL\_MONITORING\_THRESHOLD\_%'' THEN 0 END',
        NULL, NULL, false, false
    ),
    (
        'history_schema_evolution',
        'changed_row.table_metadata_list_id',
        'public.table_metadata_list AS parent WHERE parent.id = ANY (keys)',
        'TG_OP = ''DELETE'' OR count(*) = cardinality(keys)', true, false
    ),
    (
        'source_details_other_versions',
        'changed_row.table_metadata_list_id',
        'public.source_details_other_tables AS parent WHERE parent.id = ANY (keys)',
        'TG_OP = ''DELETE'' OR count(*) = cardinality(keys)', true, false
    ),
    (
        'pipelines_destination',
        'changed_row.pipeline_id',
        'public.pipelines AS parent WHERE parent.id = ANY (keys)',
        'TG_OP = ''DELETE'' OR count(*) = cardinality(keys)', false, true
    ),
    (
        'destinations',
        'changed_row.id',
        'public.pipelines_destination AS pd INNER JOIN public.pipelines AS parent ON parent.id = pd.pipeline_id '
        'WHERE pd.destination_id = ANY (keys)',
        'TG_OP <> ''UPDATE'' OR public.source_details_free_destinations(keys, ''linked'') = cardinality(keys)',
        false, false
    );

-- The watched columns. `shown_as`: what a page shows instead of `value`, if most changes of the value make no
-- difference there.
CREATE OR REPLACE VIEW public.source_details_watched_columns (table_name, column_name, shown_as) AS
VALUES
    ('sources', 'name', NULL),
    ('sources', 'pg_host', NULL),
    ('sources', 'pg_port', NULL),
    ('sources', 'pg_database', NULL),
    ('sources', 'pg_username', NULL),
    -- Not shown, but a source that could not be reached may be now.
    ('sources', 'pg_password', NULL),
    ('sources', 'publication_name', NULL),
    ('sources', 'replication_name', NULL),
    ('sources', 'is_publication_enabled', NULL),
    ('sources', 'is_replication_enabled', NULL),
    ('sources', 'total_tables', NULL),
    ('sources', 'created_at', NULL),
    ('pipelines', 'source_id', NULL),
    ('pipelines', 'name', NULL),
    ('pipelines', 'status', NULL),
    ('pipelines_destination', 'pipeline_id', NULL),
    ('pipelines_destination', 'destination_id', NULL),
    ('pipelines_destination', 'is_error', NULL),
    ('destinations', 'name', NULL),
    ('wal_monitor', 'source_id', NULL),
    ('wal_monitor', 'status', NULL),
    ('wal_monitor', 'error_message', NULL),
    ('wal_monitor', 'replication_slot_name', NULL),
    ('wal_monitor', 'total_wal_size', 'public.source_details_wal_class(public.source_details_wal_bytes(value))'),
    ('rosetta_setting_configuration', 'config_key', NULL),
    ('rosetta_setting_configuration', 'config_value', NULL),
    ('table_metadata_list', 'source_id', NULL),
    ('table_metadata_list', 'table_name', NULL),
    ('table_metadata_list', 'is_published', NULL),
    ('table_metadata_list', 'schema_table', NULL),
    ('table_metadata_list', 'column_order', NULL),
    ('table_metadata_list', 'at_source', NULL),
    ('source_details_other_tables', 'source_id', NULL),
    ('source_details_other_tables', 'table_name', NULL),
    ('source_details_other_tables', 'is_published', NULL),
    ('source_details_other_tables', 'schema_table', NULL),
    ('source_details_other_tables', 'column_order', NULL),
    ('source_details_other_tables', 'at_source', NULL),
    ('history_schema_evolution', 'table_metadata_list_id', NULL),
    ('history_schema_evolution', 'version_schema', NULL),
    ('source_details_other_versions', 'table_metadata_list_id', NULL),
    ('source_details_other_versions', 'version_schema', NULL);

-- The triggers that the lists imply, and whether each exists and is ENABLE ALWAYS: a restore may leave them disabled,
-- or enabled only for ordinary sessions.
CREATE OR REPLACE FUNCTION public.source_details_triggers()
RETURNS TABLE (table_name text, trigger_name text, event text, is_right boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        w.table_name,
        'source_details_' || e.event AS trigger_name,
        e.event,
        EXISTS (
            SELECT
            FROM pg_trigger AS t
            WHERE
                t.tgrelid = to_regclass('public.' || quote_ident(w.table_name))
                AND t.tgname = 'source_details_' || e.event
                AND t.tgfoid = to_regproc(format('public.source_details_%s_changed', w.table_name))
                AND t.tgenabled = 'A'
        ) AS is_right
    FROM public.source_details_watched_tables AS w
    CROSS JOIN (VALUES ('insert'), ('update'), ('delete'), ('truncate')) AS e (event)
$$;

-- Whether later statements of this transaction see what others have committed since it began.
CREATE OR REPLACE FUNCTION public.source_details_sees_others() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')
$$;

-- How many of these destinations no other transaction is changing, or is linking a pipeline to. Nothing stays locked, or
-- others would wait.
CREATE OR REPLACE FUNCTION public.source_details_free_destinations(wanted integer [], unless text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    free bigint;
BEGIN
    BEGIN
        IF unless = 'linked' THEN
            SELECT count(*) INTO free
            FROM (SELECT FROM public.destinations AS d WHERE d.id = ANY (wanted) FOR UPDATE SKIP LOCKED) AS d;
        ELSE
            SELECT count(*) INTO free
            FROM (SELECT FROM public.destinations AS d WHERE d.id = ANY (wanted) FOR SHARE SKIP LOCKED) AS d;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'SD000', MESSAGE = 'releases the locks';
    EXCEPTION
        WHEN SQLSTATE 'SD000' THEN
            RETURN free;
    END;
END
$$;

-- Makes the trigger functions, and the triggers that are missing or incorrect.
--
-- If a row's source is found through other rows (a version's table, the pipelines of a destination), a transaction that is
-- not visible yet may move one of these to another source. Then the change below notifies of the old source only, and may
-- commit last. No trigger waits for that: a program that waits for another only because of us could deadlock with it.
-- Instead:
--   * a move leaves its sources unsettled in the log. Their pages are read live and kept nowhere until every transaction
--     that was running when the move committed has ended. Then a refresh notifies of these sources once more;
--   * a new link to a destination does so if another transaction is changing the destination. It locks the destination as
--     its foreign key does (FOR KEY SHARE), so that a change of a destination notices it, and notifies of every source. Each
--     of the two makes itself seen before it looks for the other;
--   * a transaction with an old snapshot (REPEATABLE READ) cannot see where its rows belong by now. It may begin to write
--     long after the move is settled, so it notifies of every source;
--   * so does a change below a row that is not there. Only a writer with session_replication_role = replica can make one:
--     foreign keys are not checked. A row that is deleted with everything below it is gone when the deletions below are
--     processed; its own trigger notifies.
DO $make$
DECLARE
    watched record;
    missing record;
    unused record;
BEGIN
    FOR watched IN
        SELECT
            w.*,
            replace(w.key, 'changed_row', 'o') AS old_key,
            replace(w.key, 'changed_row', 'n') AS new_key,
            (
                SELECT
                    string_agg(
                        format('o.%1$I IS DISTINCT FROM n.%1$I', c.column_name)
                        || CASE WHEN c.shown_as IS NOT NULL
                            THEN format(
                                ' AND %s IS DISTINCT FROM %s',
                                replace(c.shown_as, '(value)', format('(o.%I)', c.column_name)),
                                replace(c.shown_as, '(value)', format('(n.%I)', c.column_name))
                            )
                            ELSE ''
                        END,
                        E'\n                OR ' ORDER BY c.number
                    )
                FROM (
                    SELECT c.*, row_number() OVER () AS number FROM public.source_details_watched_columns AS c
                ) AS c
                WHERE c.table_name = w.table_name
            ) AS is_different,
            t.is_told
        FROM public.source_details_watched_tables AS w
        LEFT JOIN public.source_details_told AS t ON t.table_name = w.table_name
    LOOP
        EXECUTE format(
            $function$
CREATE OR REPLACE FUNCTION public.%1$I() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    keys integer [];
    used integer [];
    are_several boolean;
    is_moved boolean;
    is_told boolean;
    changed integer [];
    only_one integer;
    -- To assign is to evaluate an expression; to PERFORM is to run a query.
    ignored text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT %3$s) FILTER (WHERE %3$s IS NOT NULL) INTO keys FROM new_rows AS n;
        %9$s
        %11$s
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT %2$s) FILTER (WHERE %2$s IS NOT NULL) INTO keys FROM old_rows AS o;
        %12$s
    ELSIF TG_OP = 'UPDATE' THEN
        %8$s
        -- Most statements change one row. Its writer pays for every node of a plan: nothing is hashed or aggregated.
        SELECT
            o.id IS DISTINCT FROM n.id OR EXISTS (SELECT FROM new_rows OFFSET 1),
            ARRAY[%2$s, %3$s],
            %2$s IS DISTINCT FROM %3$s,
            CASE
                WHEN
                    %4$s
                    THEN (%10$s) IS TRUE
            END
        INTO are_several, keys, is_moved, is_told
        FROM old_rows AS o, new_rows AS n
        LIMIT 1;
        IF are_several THEN
            -- Joined only once: with many wide rows, the join is most of what this trigger costs the writer.
            SELECT
                array_agg(%2$s) || array_agg(%3$s),
                bool_or(%2$s IS DISTINCT FROM %3$s),
                bool_or(%10$s)
            INTO keys, is_moved, is_told
            FROM old_rows AS o
            FULL JOIN new_rows AS n USING (id)
            WHERE
                (
                    %4$s
                );
        ELSIF is_told IS NULL THEN
            -- Nothing is different that anybody is shown.
            keys := NULL;
            is_moved := false;
        END IF;
        IF keys[1] = ALL (keys) THEN
            keys := keys[1:1];
        ELSIF keys IS NOT NULL THEN
            SELECT array_agg(DISTINCT k.key) INTO keys FROM unnest(keys) AS k (key) WHERE k.key IS NOT NULL;
        END IF;
        %9$s
        IF is_told THEN
            %13$s
        END IF;
    ELSE
        changed := '{0}';
    END IF;
    %5$s
    IF cardinality(changed) = 1 AND NOT %7$s THEN
        only_one := changed[1];
    END IF;
    IF only_one <> 0 THEN
        -- As source_details_announce does; a call would cost the writer as much as the INSERT.
        %14$s
        ignored := pg_notify('source_details_changed', only_one::text);
    ELSIF changed IS NOT NULL THEN
        PERFORM public.source_details_announce(changed, is_in_view => %6$s, is_unsettled => %7$s);
    END IF;
    RETURN NULL;
END
$body$
            $function$,
            format('source_details_%s_changed', watched.table_name),
            watched.old_key,
            watched.new_key,
            watched.is_different,
            CASE
                WHEN watched.way IS NULL THEN 'changed := coalesce(changed, keys);'
                ELSE format(
                    $way$IF keys IS NOT NULL THEN
        SELECT
            CASE
                WHEN public.source_details_sees_others() AND (%2$s)
                    THEN array_agg(DISTINCT parent.source_id) FILTER (WHERE parent.source_id IS NOT NULL)
                ELSE '{0}'
            END
        INTO changed
        FROM %1$s;
    END IF;$way$,
                    watched.way, watched.is_known
                )
            END,
            watched.is_in_view::text,
            CASE WHEN watched.is_parent THEN 'coalesce(is_moved, false)' ELSE 'false' END,
            CASE
                WHEN watched.is_different LIKE '%source_details_wal_class%'
                    -- Only for its lock: to a snapshot from before an ALTER TABLE, the thresholds would be none.
                    THEN 'PERFORM FROM public.rosetta_setting_configuration WHERE false;'
            END,
            CASE
                WHEN watched.table_name = 'pipelines_destination'
                    THEN $link$SELECT array_agg(DISTINCT n.destination_id) INTO used FROM new_rows AS n;
        PERFORM FROM public.destinations AS d WHERE d.id = ANY (used) FOR KEY SHARE SKIP LOCKED;
        is_moved := coalesce(is_moved, false)
            OR public.source_details_free_destinations(used, 'changed') < cardinality(used);$link$
            END,
            coalesce(watched.is_told, 'false'),
            public.source_details_telling(watched.table_name, 'new_rows AS n LEFT JOIN new_rows AS o ON false'),
            public.source_details_telling(watched.table_name, 'old_rows AS o LEFT JOIN old_rows AS n ON false'),
            coalesce(
                public.source_details_telling(
                    watched.table_name, 'old_rows AS o FULL JOIN new_rows AS n USING (id)', watched.is_different
                ),
                'NULL;'
            ),
            CASE
                WHEN watched.is_in_view
                    THEN 'INSERT INTO public.source_details_log (source_id) VALUES (only_one) ON CONFLICT DO NOTHING;'
            END
        );
    END LOOP;

    -- ENABLE ALWAYS: they also fire for a writer with session_replication_role = replica.
    FOR missing IN SELECT t.* FROM public.source_details_triggers() AS t WHERE NOT t.is_right LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER %I AFTER %s ON public.%I %s FOR EACH STATEMENT EXECUTE FUNCTION public.%I()',
            missing.trigger_name, missing.event, missing.table_name,
            CASE missing.event
                WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
            END,
            format('source_details_%s_changed', missing.table_name)
        );
        EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER %I', missing.table_name, missing.trigger_name);
    END LOOP;

    -- Triggers and functions that an earlier list implied, and this one does not.
    FOR unused IN
        SELECT t.tgrelid::regclass AS table_name, t.tgname AS trigger_name
        FROM pg_trigger AS t
        WHERE
            t.tgname IN (
                'source_details_insert', 'source_details_update', 'source_details_delete', 'source_details_truncate'
            )
            AND NOT EXISTS (
                SELECT FROM public.source_details_watched_tables AS w
                WHERE to_regclass('public.' || quote_ident(w.table_name)) = t.tgrelid
            )
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', unused.trigger_name, unused.table_name);
    END LOOP;
    FOR unused IN
        SELECT p.oid::regprocedure AS function
        FROM pg_proc AS p
        WHERE
            p.pronamespace = 'public'::regnamespace
            AND p.proname LIKE 'source\_details\_%\_changed'
            AND p.prorettype = 'trigger'::regtype
            AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgfoid = p.oid)
    LOOP
        EXECUTE format('DROP FUNCTION %s', unused.function);
    END LOOP;
END
$make$;
