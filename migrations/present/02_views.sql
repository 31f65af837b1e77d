-- What pages show, computed when it is read. The materialized view (008) stores the rows of source_details_live.

-- The columns of a source that anyone may see, in the order in which pages show them. Never its password.
CREATE OR REPLACE VIEW public.source_details_sources AS
SELECT
    public.source_details_some_time(s.created_at, s.updated_at) AS created_at,
    public.source_details_some_time(s.updated_at, s.created_at) AS updated_at,
    s.name,
    s.pg_host,
    s.pg_port,
    s.pg_database,
    s.pg_username,
    s.publication_name,
    s.replication_name,
    s.id,
    s.is_publication_enabled,
    s.is_replication_enabled,
    public.source_details_time(s.last_check_replication_publication) AS last_check_replication_publication,
    s.total_tables
FROM public.sources AS s;

-- One row per table, with its part of the response as finished text, so that a read only concatenates.
CREATE OR REPLACE VIEW public.source_details_live AS
SELECT
    t.id AS table_id,
    t.source_id,
    named.table_name COLLATE "C" AS table_name,
    t.is_published,
    versioned.version,
    concat(
        '{"id":', t.id,
        ',"table_name":', to_json(named.table_name),
        ',"version":', versioned.version,
        ',"schema_table":[', described.columns, ']}'
    ) AS fragment
FROM public.table_metadata_list AS t
CROSS JOIN LATERAL (SELECT coalesce(t.table_name, 'Unknown')::text AS table_name) AS named
-- max() reads one entry of idx_history_schema_evolution_table_version_composite, however long the table's history is.
CROSS JOIN LATERAL (
    SELECT
        greatest(
            (
                SELECT max(h.version_schema)
                FROM public.history_schema_evolution AS h
                WHERE h.table_metadata_list_id = t.id
            ),
            1
        ) AS version
) AS versioned
CROSS JOIN LATERAL (
    SELECT
        string_agg(
            listed.shown::text,
            ',' ORDER BY
                array_position(t.column_order, listed.column_name) NULLS LAST,
                listed.ordinal,
                listed.column_name COLLATE "C"
        ) AS columns
    FROM public.source_details_columns(public.source_details_schema(t.schema_table, t.source_columns)) AS listed
) AS described;
