-- name: table_versions
-- A table with `count` of its versions up to `highest` (NULL: the latest), newest first, each with its columns as pages
-- show them. No row for an unknown id; no version outside 1 to `latest`. A version that the history lacks gets its
-- columns from the versions next to it; the latest has those of the table itself.
SELECT
    t.source_id,
    s.name AS source_name,
    coalesce(t.table_name, 'Unknown') AS table_name,
    own.latest,
    -- The same relation under another name, as long as that is not published again. Each keeps its own versions.
    (
        SELECT json_build_object('id', u.id, 'table_name', u.table_name)
        FROM public.source_details_registered AS u
        WHERE
            u.source_id = t.source_id
            AND u.id < t.id
            AND NOT u.is_published
            AND u.at_source ->> 'relation' = t.at_source ->> 'relation'
        ORDER BY u.id DESC
        LIMIT 1
    ) AS was_called,
    (
        SELECT
            coalesce(
                json_agg(
                    json_build_object(
                        'version', v.version,
                        'changes_type', noted.changes_type,
                        'noted_at', public.source_details_time(noted.created_at),
                        'columns', described.columns,
                        'replication',
                        CASE WHEN v.version = own.latest THEN t.at_source ELSE noted.at_source END -> 'replication',
                        'identity',
                        -- As it was when the version was made. Of one that another program made, the next sync knows.
                        coalesce(
                            public.source_details_identity(noted.schema_table_new, noted.at_source),
                            CASE WHEN v.version = own.latest
                                THEN public.source_details_identity(t.schema_table, t.at_source)
                            END
                        )
                    )
                    ORDER BY v.version DESC
                ),
                '[]'
            )
        FROM
            generate_series(greatest(asked.highest - %(count)s::int + 1, 1), asked.highest) AS v (version)
        LEFT JOIN public.source_details_versions AS noted
            ON noted.table_id = t.id AND noted.version = v.version
        CROSS JOIN LATERAL (
            SELECT
                coalesce(
                    CASE
                        WHEN v.version = own.latest
                            THEN nullif(public.source_details_schema(t.schema_table, t.at_source), 'null')
                    END,
                    nullif(public.source_details_schema(noted.schema_table_new, noted.at_source), 'null'),
                    (
                        SELECT h.schema_table_old
                        FROM public.source_details_versions AS h
                        WHERE h.table_id = t.id AND h.version > v.version
                        ORDER BY h.version
                        LIMIT 1
                    ),
                    (
                        SELECT h.schema_table_new
                        FROM public.source_details_versions AS h
                        WHERE h.table_id = t.id AND h.version < v.version
                        ORDER BY h.version DESC
                        LIMIT 1
                    )
                ) AS schema_table
        ) AS known
        CROSS JOIN LATERAL (
            SELECT
                coalesce(
                    json_agg(
                        c.shown
                        ORDER BY
                            -- A version that a sync has seen, and a list, have an order of their own.
                            nullif(c.ordinal, 0),
                            array_position(t.column_order, c.column_name),
                            c.column_name COLLATE "C"
                    ),
                    '[]'
                ) AS columns
            FROM public.source_details_columns(known.schema_table) AS c
        ) AS described
    ) AS versions
FROM public.source_details_registered AS t
INNER JOIN public.sources AS s ON s.id = t.source_id
CROSS JOIN LATERAL (
    SELECT
        greatest(
            (
                SELECT max(h.version)
                FROM public.source_details_versions AS h
                WHERE h.table_id = t.id
            ),
            1
        ) AS latest
) AS own
CROSS JOIN LATERAL (SELECT least(coalesce(%(highest)s::int, own.latest), own.latest) AS highest) AS asked
WHERE t.id = %(id)s::int

-- name: registered_tables
-- The names of a source's registered tables of schema public. No row for an unknown id.
SELECT
    coalesce(
        array_agg(t.table_name ORDER BY t.table_name COLLATE "C") FILTER (WHERE t.table_name IS NOT NULL), '{}'
    ) AS names
FROM public.sources AS s
LEFT JOIN public.table_metadata_list AS t ON t.source_id = s.id
WHERE s.id = %(id)s::int
GROUP BY s.id

-- name: latest_changes
-- The newest versions of a source's tables that changed something, the latest first.
SELECT
    v.table_id,
    coalesce(t.table_name, 'Unknown') AS table_name,
    v.version,
    v.changes_type,
    public.source_details_time(v.created_at) AS changed_at
FROM public.source_details_registered AS t
CROSS JOIN LATERAL (
    SELECT *
    FROM public.source_details_versions AS h
    WHERE h.table_id = t.id AND h.version > 1
    ORDER BY h.version DESC
    LIMIT %(count)s::int
) AS v
WHERE t.source_id = %(id)s::int
ORDER BY v.created_at DESC NULLS LAST, v.table_id, v.version DESC
LIMIT %(count)s::int

-- name: recorded_schema
-- What is recorded of a source's published tables, each as finished text; whether its publication has all tables; and the
-- pipelines that carry them. No row for an unknown id.
SELECT
    s.publication_name,
    coalesce((y.seen ->> 'is_all_tables')::boolean, false) AS is_all_tables,
    ARRAY(
        SELECT l.fragment
        FROM public.source_details_live AS l
        WHERE l.source_id = s.id AND l.is_published
        ORDER BY l.table_name
    ) AS fragments,
    (
        SELECT coalesce(json_agg(carrier ORDER BY carrier.name), '[]')
        FROM (
            SELECT p.name, json_agg(d.name ORDER BY d.name) AS destinations
            FROM public.pipelines AS p
            INNER JOIN public.pipelines_destination AS pd ON pd.pipeline_id = p.id
            INNER JOIN public.destinations AS d ON d.id = pd.destination_id
            WHERE p.source_id = s.id AND p.status <> 'PAUSE'
            GROUP BY p.id, p.name
        ) AS carrier
    ) AS pipelines
FROM public.sources AS s
LEFT JOIN public.source_details_sync_state AS y ON y.source_id = s.id
WHERE s.id = %(id)s::int
