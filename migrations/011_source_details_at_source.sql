-- 011: what a sync knows of a source beyond what the platform records.
--
--   table_metadata_list.at_source        a table as it is at the source
--   history_schema_evolution.at_source   the same, as it was in a version
--   source_details_other_tables          the tables outside schema public
--   source_details_other_versions        their history
--   source_details_sync_state.seen       the slot, the server and what could not be asked, at the last sync
--
-- The platform's schema monitor compares schema_table as a whole with what the source's role reads through
-- information_schema, and takes any difference for a new version. That view of a table is not always true: it lacks the
-- length of a varchar, the elements of an array and the name of an enum; a role without more than SELECT sees no keys,
-- and none of the columns that it may not read. So schema_table keeps what the platform would write, and the truth stands
-- beside it.
--
-- The monitor also deletes the rows of tables that are not in schema public, with their history. So these have tables of
-- their own. Their ids come from the same sequence: an id names one table.
ALTER TABLE public.table_metadata_list ADD COLUMN IF NOT EXISTS at_source jsonb;
ALTER TABLE public.history_schema_evolution ADD COLUMN IF NOT EXISTS at_source jsonb;
ALTER TABLE public.source_details_sync_state ADD COLUMN IF NOT EXISTS seen jsonb;

COMMENT ON COLUMN public.table_metadata_list.at_source IS
'The table as it is at the source. `of` in a column is the md5 of the entry of schema_table that it belongs to.';
COMMENT ON COLUMN public.history_schema_evolution.at_source IS
'The table as it was at the source when this version was the latest.';

CREATE TABLE IF NOT EXISTS public.source_details_other_tables (
    id integer PRIMARY KEY DEFAULT nextval(pg_get_serial_sequence('public.table_metadata_list', 'id')),
    source_id integer NOT NULL REFERENCES public.sources (id) ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name text NOT NULL,                       -- schema.table; a part with a dot or a double quote is quoted
    schema_table jsonb,
    is_changes_schema boolean DEFAULT false,
    is_published boolean NOT NULL DEFAULT true,
    column_order text [],
    at_source jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    UNIQUE (source_id, table_name)
);

COMMENT ON TABLE public.source_details_other_tables IS
'The tables of each source outside schema public. Columns as in table_metadata_list.';

CREATE TABLE IF NOT EXISTS public.source_details_other_versions (
    id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    table_metadata_list_id integer NOT NULL REFERENCES public.source_details_other_tables (id) ON DELETE CASCADE,
    schema_table_old jsonb,
    schema_table_new jsonb,
    changes_type varchar(20),
    version_schema integer,
    at_source jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    UNIQUE (table_metadata_list_id, version_schema)
);

COMMENT ON TABLE public.source_details_other_versions IS
'The history of source_details_other_tables. Columns as in history_schema_evolution.';

-- Earlier syncs recorded tables of other schemas in the platform's table. A name that a sync of ours wrote (the platform
-- does not know column_order) has a dot outside double quotes only between schema and table. Later syncs set at_source: their
-- names are plain, and stay.
WITH ours AS (
    SELECT
        t.*,
        (regexp_match(t.table_name, '^("(?:[^"]|"")+"|[^".]+)\.(?:"(?:[^"]|"")+"|[^".]+)$'))[1] AS schema_part
    FROM public.table_metadata_list AS t
    WHERE t.column_order IS NOT NULL AND t.at_source IS NULL
),

moved AS (
    INSERT INTO public.source_details_other_tables (
        id, source_id, schema_name, table_name, schema_table, is_changes_schema, is_published, column_order,
        created_at, updated_at
    )
    SELECT
        o.id,
        o.source_id,
        CASE
            WHEN o.schema_part LIKE '"%' THEN replace(trim(BOTH '"' FROM o.schema_part), '""', '"')
            ELSE o.schema_part
        END,
        o.table_name, o.schema_table, o.is_changes_schema, o.is_published, o.column_order, o.created_at, o.updated_at
    FROM ours AS o
    WHERE o.schema_part IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING id
),

history AS (
    INSERT INTO public.source_details_other_versions (
        table_metadata_list_id, schema_table_old, schema_table_new, changes_type, version_schema, created_at, updated_at
    )
    SELECT
        h.table_metadata_list_id, h.schema_table_old, h.schema_table_new, h.changes_type, h.version_schema,
        h.created_at, h.updated_at
    FROM public.history_schema_evolution AS h
    INNER JOIN moved AS m ON m.id = h.table_metadata_list_id
    ON CONFLICT DO NOTHING
)

DELETE FROM public.table_metadata_list AS t
USING ours AS o
WHERE t.id = o.id AND o.schema_part IS NOT NULL;

-- And they quoted a name of schema public that has a dot or a double quote in it; the platform does not. Without its
-- column_order, which the next sync sets again, the row is not taken for one of those above if this file is applied twice.
UPDATE public.table_metadata_list AS t
SET table_name = plain.table_name, column_order = NULL
FROM (
    SELECT
        q.id,
        q.source_id,
        replace(substr(q.table_name, 2, length(q.table_name) - 2), '""', '"') AS table_name
    FROM public.table_metadata_list AS q
    WHERE q.column_order IS NOT NULL AND q.at_source IS NULL AND q.table_name ~ '^"([^"]|"")+"$'
) AS plain
WHERE
    t.id = plain.id
    AND NOT EXISTS (
        SELECT
        FROM public.table_metadata_list AS other
        WHERE other.source_id = plain.source_id AND other.table_name = plain.table_name
    );
