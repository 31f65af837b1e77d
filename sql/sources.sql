-- name: source
-- One source as finished JSON; no row for an unknown id.
SELECT convert_to(row_to_json(s)::text, 'UTF8') AS body
FROM public.source_details_sources AS s
WHERE s.id = %(id)s::int

-- name: sources
-- A page of sources, oldest first, as one finished JSON array.
SELECT convert_to(concat('[', string_agg(row_to_json(page)::text, ',' ORDER BY page.id), ']'), 'UTF8') AS body
FROM (
    SELECT s.*
    FROM public.source_details_sources AS s
    ORDER BY s.id
    LIMIT %(limit)s OFFSET %(skip)s
) AS page

-- name: source_connection
-- What it takes to reach a source; and the edition of its tables' rows, before the source is asked.
SELECT
    (
        -- include: tables_edition
    ) AS tables_edition,
    -- include: connection_columns
FROM public.sources AS c
WHERE c.id = %(id)s::int

-- name: tables_edition
-- Part of the one above and of a recording: another one as soon as anybody has written a row of the source's tables.
-- xmin is who wrote it, be it in a subtransaction, of which no snapshot knows whether it was under way.
SELECT coalesce(hashtextextended(string_agg(concat(t.id, ':', t.xmin), ',' ORDER BY t.id), 0), 0)
FROM public.table_metadata_list AS t
WHERE t.source_id = %(id)s::int

-- name: connection_columns
-- Part of a source's connection and of the page. The password is as the platform stored it: encrypted.
c.id,
c.pg_host,
c.pg_port,
c.pg_database,
c.pg_username,
c.pg_password,
c.publication_name,
c.replication_name
