-- 008: what the service keeps in this database, and the materialized view.
--
--   source_details_tables          one row for each table, stored: the materialized view
--   source_details_log             sources that changed since the stored rows were computed
--   source_details_refresh_state   which computation of the view the log belongs to
--   source_details_sync_state      what the last sync of each source saw
--
-- A reader takes the stored rows of a source that the log does not name, and computes the rows of one that it names:
-- exact at every moment, also between a commit and the next refresh. How rows are computed is defined in
-- migrations/present, which may change; apply its files after this one.

-- What a sync records about a table. Both columns are additive: programs that do not know them work as before.
ALTER TABLE public.table_metadata_list
    ADD COLUMN IF NOT EXISTS is_published boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS column_order text [];

COMMENT ON COLUMN public.table_metadata_list.is_published IS
'Whether the table was in its source''s publication at the last sync.';
COMMENT ON COLUMN public.table_metadata_list.column_order IS
'The column names in the table''s own order, which the keys of schema_table cannot hold.';

-- Fixes the columns of a computed row, so that the materialized view can be created; migrations/present replaces this
-- empty view with the one that computes the rows.
DO $$
BEGIN
    IF to_regclass('public.source_details_live') IS NULL THEN
        CREATE VIEW public.source_details_live AS
        SELECT
            NULL::integer AS table_id,
            NULL::integer AS source_id,
            NULL::text COLLATE "C" AS table_name,
            NULL::boolean AS is_published,
            NULL::integer AS version,
            NULL::text AS fragment
        WHERE false;
    END IF;
END
$$;

-- The stored rows. The first refresh computes them, not this file, which locks the tables. One row (the lowest id) also
-- says which refresh computed the rows: the snapshot that the refresh read with, and its transaction. On every row,
-- these two values would make each refresh rewrite the whole view.
CREATE MATERIALIZED VIEW IF NOT EXISTS public.source_details_tables AS
SELECT
    live.table_id,
    live.source_id,
    live.table_name,
    live.is_published,
    live.version,
    live.fragment,
    CASE WHEN lowest.is_this THEN pg_current_snapshot() END AS view_snapshot,
    CASE WHEN lowest.is_this THEN pg_current_xact_id() END AS view_xid
FROM public.source_details_live AS live
CROSS JOIN LATERAL (
    SELECT live.table_id = (SELECT min(t.id) FROM public.table_metadata_list AS t) AS is_this
) AS lowest
WITH NO DATA;

-- REFRESH ... CONCURRENTLY compares rows by this index; table_id is never NULL.
CREATE UNIQUE INDEX IF NOT EXISTS source_details_tables_table_id
    ON public.source_details_tables (table_id);
CREATE INDEX IF NOT EXISTS source_details_tables_source_id
    ON public.source_details_tables (source_id, table_name, table_id);
CREATE INDEX IF NOT EXISTS source_details_tables_view_snapshot
    ON public.source_details_tables ((true)) WHERE view_snapshot IS NOT NULL;

-- Source 0 stands for all sources.
CREATE TABLE IF NOT EXISTS public.source_details_log (
    source_id integer NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source_id, xid)
);

COMMENT ON TABLE public.source_details_log IS
'Sources (0: all) that a transaction changed and that source_details_tables does not show yet. Filled by triggers, pruned by refreshes.';

CREATE TABLE IF NOT EXISTS public.source_details_refresh_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    view_snapshot pg_snapshot,                      -- of the view for which the log was last pruned,
    view_xid xid8,                                  -- and the transaction that computed that view
    refreshed_at timestamptz,
    duration interval NOT NULL DEFAULT '0',         -- of the last refresh by source_details_refresh()
    refreshes bigint NOT NULL DEFAULT 0
);

INSERT INTO public.source_details_refresh_state DEFAULT VALUES ON CONFLICT DO NOTHING;

-- What the last sync of each source read, so that a sync that read the source earlier but arrives later is dropped.
CREATE TABLE IF NOT EXISTS public.source_details_sync_state (
    source_id integer PRIMARY KEY REFERENCES public.sources (id) ON DELETE CASCADE,
    incarnation text NOT NULL,                      -- which server: system identifier and timeline
    source_snapshot pg_snapshot NOT NULL,           -- on the source, when its catalogs were read
    synced_at timestamptz NOT NULL,
    number bigint NOT NULL DEFAULT 1                -- of the sync, counted per source
);
