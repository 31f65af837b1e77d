-- 007: the composite indexes behind the source details page.
--
-- On a large database, build them without blocking writers first, outside a transaction:
--
--     CREATE INDEX CONCURRENTLY idx_history_schema_evolution_table_version_composite
--         ON public.history_schema_evolution (table_metadata_list_id, version_schema DESC);
--     CREATE INDEX CONCURRENTLY idx_table_metadata_list_source_id_covering
--         ON public.table_metadata_list (source_id, id) INCLUDE (table_name);
--     CREATE INDEX CONCURRENTLY idx_pipelines_destination_composite
--         ON public.pipelines_destination (pipeline_id, destination_id, is_error);
--
-- (DROP INDEX CONCURRENTLY idx_table_metadata_list_source_id_covering first, if it includes schema_table.)
-- This file then finds them and changes nothing. An index that a failed CONCURRENTLY left invalid is built again.

-- The covering index omits schema_table on purpose: with it, a table of more than about 65 columns cannot be stored at
-- all ("index row size 2720 exceeds btree version 4 maximum 2704"). The finished text of
-- each table is read from the materialized view instead.
DO $$
DECLARE
    unusable regclass;
BEGIN
    FOR unusable IN
        SELECT i.indexrelid::regclass
        FROM pg_index AS i
        WHERE i.indexrelid IN (
            to_regclass('public.idx_history_schema_evolution_table_version_composite'),
            to_regclass('public.idx_table_metadata_list_source_id_covering'),
            to_regclass('public.idx_pipelines_destination_composite')
        )
        AND (
            NOT i.indisvalid
            OR EXISTS (
                SELECT FROM pg_attribute AS a
                WHERE a.attrelid = i.indexrelid AND a.attname = 'schema_table'
            )
        )
    LOOP
        RAISE NOTICE 'replacing index %', unusable;
        EXECUTE format('DROP INDEX %s', unusable);
    END LOOP;
END
$$;

-- The highest version of one table: the first entry of its range.
CREATE INDEX IF NOT EXISTS idx_history_schema_evolution_table_version_composite
    ON public.history_schema_evolution (table_metadata_list_id, version_schema DESC);

-- The ids and names of one source's tables, without reading the table itself.
CREATE INDEX IF NOT EXISTS idx_table_metadata_list_source_id_covering
    ON public.table_metadata_list (source_id, id) INCLUDE (table_name);

-- The destinations of one pipeline.
CREATE INDEX IF NOT EXISTS idx_pipelines_destination_composite
    ON public.pipelines_destination (pipeline_id, destination_id, is_error);

-- The pipelines of one source. The platform has this index, but older databases may not. The comment marks one that was
-- made here: uninstalling keeps the platform's own.
DO $$
BEGIN
    IF to_regclass('public.idx_pipelines_source_id') IS NULL THEN
        CREATE INDEX idx_pipelines_source_id ON public.pipelines (source_id);
        COMMENT ON INDEX public.idx_pipelines_source_id IS 'made by source_details';
    END IF;
END
$$;
