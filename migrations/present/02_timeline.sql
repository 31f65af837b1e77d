-- What the timeline of a source tells, and how its entries are made. 04_notify.sql puts it into the triggers.

-- The members of two objects that differ, each as {"what", "old", "new"}.
CREATE OR REPLACE FUNCTION public.source_details_differences(old_row jsonb, new_row jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        jsonb_agg(
            jsonb_build_object('what', n.key, 'old', old_row -> n.key, 'new', n.value) ORDER BY n.key COLLATE "C"
        ),
        '[]'
    )
    FROM jsonb_each(new_row) AS n
    WHERE n.value IS DISTINCT FROM old_row -> n.key
$$;

-- Whether a message says something else than before. One whose figures alone differ does not: it would be told at every
-- check.
CREATE OR REPLACE FUNCTION public.source_details_says_else(old_message text, new_message text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        regexp_replace(old_message, figure, '', 'g') IS DISTINCT FROM regexp_replace(new_message, figure, '', 'g')
    -- Positions and files of the WAL are hexadecimal.
    FROM (VALUES ('\m[0-9A-Fa-f/]*[0-9][0-9A-Fa-f/]*\M')) AS of_a (figure)
$$;

-- What is told of the watched tables. Each column is an expression over the row before (`o`) and after (`n`); of a new
-- row, all of `o` is NULL, and of a deleted one all of `n`.
--
--   kind      source, pipeline, destination, state (of the slot), tables, schema, setting; the service itself tells
--             of reach (a source lost, and back)
--   source    its id; NULL: nobody's, and 0: every source's
--   what      what happened. One entry is made per statement, source and `what`: it counts the rows, and has the facts
--             (`item`) of the first twenty.
--   is_told   whether this row is told. Only columns that are watched can have changed.
CREATE OR REPLACE VIEW public.source_details_told (table_name, kind, source, what, item, is_told) AS
VALUES
    (
        'sources', 'source', 'coalesce(n.id, o.id)',
        'CASE WHEN o.id IS NULL THEN ''added'' WHEN n.id IS NULL THEN ''removed'' ELSE ''changed'' END',
        $$
            jsonb_build_object(
                'name', coalesce(n.name, o.name),
                'changes', CASE WHEN o.id IS NOT NULL AND n.id IS NOT NULL THEN
                    public.source_details_differences(
                        jsonb_build_object(
                            'name', o.name, 'pg_host', o.pg_host, 'pg_port', o.pg_port, 'pg_database', o.pg_database,
                            'pg_username', o.pg_username, 'pg_password', 'hidden',
                            'publication_name', o.publication_name, 'replication_name', o.replication_name,
                            'is_publication_enabled', o.is_publication_enabled,
                            'is_replication_enabled', o.is_replication_enabled
                        ),
                        jsonb_build_object(
                            'name', n.name, 'pg_host', n.pg_host, 'pg_port', n.pg_port, 'pg_database', n.pg_database,
                            'pg_username', n.pg_username,
                            'pg_password',
                            CASE WHEN o.pg_password IS DISTINCT FROM n.pg_password THEN 'another' ELSE 'hidden' END,
                            'publication_name', n.publication_name, 'replication_name', n.replication_name,
                            'is_publication_enabled', n.is_publication_enabled,
                            'is_replication_enabled', n.is_replication_enabled
                        )
                    )
                END
            )
        $$,
        $$
            o.id IS NULL OR n.id IS NULL
            OR (
                o.name, o.pg_host, o.pg_port, o.pg_database, o.pg_username, o.pg_password, o.publication_name,
                o.replication_name, o.is_publication_enabled, o.is_replication_enabled
            ) IS DISTINCT FROM (
                n.name, n.pg_host, n.pg_port, n.pg_database, n.pg_username, n.pg_password, n.publication_name,
                n.replication_name, n.is_publication_enabled, n.is_replication_enabled
            )
        $$
    ),
    (
        'pipelines', 'pipeline', 'coalesce(n.source_id, o.source_id)',
        'CASE WHEN o.id IS NULL THEN ''added'' WHEN n.id IS NULL THEN ''removed'' ELSE ''changed'' END',
        $$
            jsonb_build_object(
                'name', coalesce(n.name, o.name),
                'changes', CASE WHEN o.id IS NOT NULL AND n.id IS NOT NULL THEN
                    public.source_details_differences(
                        jsonb_build_object('name', o.name, 'status', o.status, 'source_id', o.source_id),
                        jsonb_build_object('name', n.name, 'status', n.status, 'source_id', n.source_id)
                    )
                END
            )
        $$,
        'true'
    ),
    (
        'pipelines_destination', 'destination',
        '(SELECT p.source_id FROM public.pipelines AS p WHERE p.id = coalesce(n.pipeline_id, o.pipeline_id))',
        $$
            CASE
                WHEN o.id IS NULL THEN 'linked'
                WHEN n.id IS NULL THEN 'unlinked'
                WHEN (o.pipeline_id, o.destination_id) IS DISTINCT FROM (n.pipeline_id, n.destination_id) THEN 'linked'
                WHEN n.is_error THEN 'failing'
                ELSE 'working'
            END
        $$,
        $$
            jsonb_build_object(
                'name',
                (SELECT d.name FROM public.destinations AS d WHERE d.id = coalesce(n.destination_id, o.destination_id)),
                'pipeline',
                (SELECT p.name FROM public.pipelines AS p WHERE p.id = coalesce(n.pipeline_id, o.pipeline_id))
            )
        $$,
        'true'
    ),
    (
        'wal_monitor', 'state', 'n.source_id',
        'CASE WHEN o.id IS NULL THEN ''added'' ELSE ''changed'' END',
        $$
            jsonb_build_object(
                'status', coalesce(n.status, 'ACTIVE'), 'before', o.status, 'message', left(n.error_message, 500)
            )
        $$,
        $$
            n.id IS NOT NULL
            AND CASE
                WHEN o.id IS NULL THEN n.status <> 'ACTIVE'
                ELSE
                    o.status IS DISTINCT FROM n.status
                    OR public.source_details_says_else(o.error_message, n.error_message)
            END
        $$
    ),
    (
        'rosetta_setting_configuration', 'setting',
        'CASE WHEN coalesce(n.config_key, o.config_key) LIKE ''WAL\_MONITORING\_THRESHOLD\_%'' THEN 0 END',
        '''changed''',
        'jsonb_build_object(''name'', coalesce(n.config_key, o.config_key), ''old'', o.config_value, ''new'', n.config_value)',
        'true'
    )
-- Tables and their versions: the platform's, and ours of the other schemas.
UNION ALL
SELECT
    listed.table_name,
    'tables',
    'coalesce(n.source_id, o.source_id)',
    $$
        CASE
            WHEN o.id IS NULL THEN 'added'
            WHEN n.id IS NULL THEN 'removed'
            WHEN n.is_published THEN 'published'
            ELSE 'unpublished'
        END
    $$,
    'jsonb_build_object(''id'', coalesce(n.id, o.id), ''table'', coalesce(n.table_name, o.table_name))',
    'o.is_published IS DISTINCT FROM n.is_published'
FROM (VALUES ('table_metadata_list'), ('source_details_other_tables')) AS listed (table_name)
UNION ALL
SELECT
    versions.table_name,
    'schema',
    format('(SELECT t.source_id FROM public.%I AS t WHERE t.id = n.table_metadata_list_id)', versions.parent),
    $$'changed'$$,
    format(
        $$
            jsonb_build_object(
                'id', n.table_metadata_list_id,
                'table', (SELECT t.table_name FROM public.%I AS t WHERE t.id = n.table_metadata_list_id),
                'version', n.version_schema
            )
        $$,
        versions.parent
    ),
    'o.id IS NULL AND n.version_schema > 1'
FROM (
    VALUES
        ('history_schema_evolution', 'table_metadata_list'),
        ('source_details_other_versions', 'source_details_other_tables')
) AS versions (table_name, parent);

-- The statement that makes the entries of a table's rows: for a trigger function's text. NULL if nothing of it is told.
CREATE OR REPLACE FUNCTION public.source_details_telling(
    watched text, rows_from text, is_different text DEFAULT 'true'
) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        format(
            $telling$-- The writer goes on, whatever is missing here: a table, a right, a column that was renamed.
        BEGIN
            INSERT INTO public.source_details_timeline (source_id, kind, facts)
            SELECT
                told.source_id,
                %1$L,
                jsonb_build_object(
                    'what', told.what,
                    'count', count(*),
                    'items', to_jsonb(array_agg(told.item ORDER BY told.place) FILTER (WHERE told.place <= 20))
                )
            FROM (
                SELECT
                    each.*,
                    row_number() OVER (PARTITION BY each.source_id, each.what ORDER BY each.number) AS place
                FROM (
                    SELECT %2$s AS source_id, %3$s AS what, %4$s AS item, coalesce(n.id, o.id) AS number
                    FROM %6$s
                    WHERE (%5$s) AND (%7$s)
                ) AS each
            ) AS told
            WHERE told.source_id IS NOT NULL
            GROUP BY told.source_id, told.what;
        EXCEPTION
            WHEN OTHERS THEN
                RAISE LOG 'source_details: not told in the timeline: %% (%%)', SQLERRM, SQLSTATE;
        END;$telling$,
            t.kind, t.source, t.what, t.item, t.is_told, rows_from, is_different
        )
    FROM public.source_details_told AS t
    WHERE t.table_name = watched
$$;
