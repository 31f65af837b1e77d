-- name: search_settings
-- A search that takes long is given up: somebody may search for anything, at any time.
SET LOCAL statement_timeout = '3s'

-- name: find_tables
-- The published tables of all sources whose name, or the name of one of whose columns, contains a text in any case, as a
-- LIKE pattern: at most `count`, those that are called exactly that (`exact`, in lower case) first. Each with all its
-- columns as pages show them. It reads every registered table, and of those that a sync has seen only their names: a
-- column's name that is recorded otherwise has to be taken out of schema_table.
SELECT
    hit.source_id,
    s.name AS source_name,
    hit.id AS table_id,
    hit.table_name,
    lower(hit.table_name) LIKE %(pattern)s AS is_named,
    (
        SELECT coalesce(json_agg(c.shown ORDER BY array_position(hit.column_order, c.column_name), c.column_name), '[]')
        FROM public.source_details_columns(public.source_details_schema(hit.schema_table, hit.at_source)) AS c
    ) AS columns
FROM (
    SELECT t.*
    FROM public.source_details_registered AS t
    WHERE
        t.is_published
        AND t.table_name IS NOT NULL
        AND (
            lower(t.table_name) LIKE %(pattern)s
            OR CASE
                WHEN t.column_order IS NOT NULL THEN lower(array_to_string(t.column_order, E'\n')) LIKE %(pattern)s
                ELSE EXISTS (
                    SELECT
                    FROM public.source_details_entries(t.schema_table) AS e
                    WHERE lower(e.column_name) LIKE %(pattern)s
                )
            END
        )
    ORDER BY lower(t.table_name) <> %(exact)s, NOT lower(t.table_name) LIKE %(pattern)s, t.table_name, t.source_id, t.id
    LIMIT %(count)s::int
) AS hit
INNER JOIN public.sources AS s ON s.id = hit.source_id
ORDER BY
    lower(hit.table_name) <> %(exact)s,
    NOT lower(hit.table_name) LIKE %(pattern)s,
    hit.table_name, s.name, hit.source_id, hit.id
