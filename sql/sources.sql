-- name: source
-- One source as finished JSON; no row for an unknown id.
SELECT convert_to(row_to_json(s)::text, 'UTF8') AS body
FROM public.source_details_sources AS s
WHERE s.id = %(id)s::int

-- name: sources
-- A page of sources by name, then id (the platform's order), as one finished JSON array, and how many there are.
SELECT
    convert_to(concat('[', string_agg(row_to_json(page)::text, ',' ORDER BY page.name, page.id), ']'), 'UTF8') AS body,
    (
        SELECT count(*)
        FROM public.sources
    ) AS total
FROM (
    SELECT s.*
    FROM public.source_details_sources AS s
    ORDER BY s.name, s.id
    LIMIT %(limit)s OFFSET %(skip)s
) AS page

-- name: chosen_sources
-- These sources, in the order of their ids' positions, as one finished JSON array. Those that are gone are left out.
SELECT
    convert_to(concat('[', string_agg(row_to_json(s)::text, ',' ORDER BY chosen.position), ']'), 'UTF8') AS body
FROM unnest(%(ids)s::int []) WITH ORDINALITY AS chosen (id, position)
INNER JOIN public.source_details_sources AS s ON s.id = chosen.id

-- name: source_connection
-- How to connect to a source. No row for an unknown id.
SELECT
    -- include: connection_columns
FROM public.sources AS c
WHERE c.id = %(id)s::int

-- name: connection_columns
-- Part of a source's connection and of the page. The password is encrypted, as the platform stored it.
c.id,
c.pg_host,
c.pg_port,
c.pg_database,
c.pg_username,
c.pg_password,
c.publication_name,
c.replication_name
