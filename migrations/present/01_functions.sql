-- How pages format values.

-- Dates as pages have always shown them: ISO 8601, UTC, with a numeric offset, whatever the session's settings.
-- NULL for dates that have no such form: infinity, and years that do not have four digits.
CREATE OR REPLACE FUNCTION public.source_details_time(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        CASE
            WHEN moment >= '0001-01-02 00:00:00+00' AND moment < '9999-12-31 00:00:00+00'
                THEN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
        END
$$;

-- The first of two dates that has such a form, or the epoch if neither has: pages expect a date there.
CREATE OR REPLACE FUNCTION public.source_details_some_time(first timestamptz, second timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        coalesce(
            public.source_details_time(first), public.source_details_time(second), public.source_details_time('epoch')
        )
$$;

-- The schema that pages show: the columns as they are at the source, as long as they belong to this very schema_table. If
-- another program has recorded a newer one since, that one is shown until the next sync.
CREATE OR REPLACE FUNCTION public.source_details_schema(schema_table jsonb, source_columns jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT
        CASE
            WHEN source_columns ->> 'of' = md5(schema_table::text) THEN source_columns -> 'columns'
            ELSE schema_table
        END
$$;

-- The columns that a schema describes, each as pages show it. schema_table is an object keyed by column name, or a
-- list; anything else counts as no columns. A single SELECT, so that the planner inlines it.
CREATE OR REPLACE FUNCTION public.source_details_columns(schema_table jsonb)
RETURNS TABLE (ordinal bigint, column_name text, shown json)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        listed.ordinal,
        listed.column_name,
        row_to_json(shown) AS shown
    FROM (
        SELECT
            0::bigint AS ordinal,
            coalesce(pair.value ->> 'column_name', pair.key) AS column_name,
            pair.value AS attributes
        FROM
            jsonb_each(
                CASE WHEN jsonb_typeof(schema_table) = 'object' THEN schema_table ELSE '{}' END
            ) AS pair
        UNION ALL
        SELECT
            item.ordinal,
            item.value ->> 'column_name' AS column_name,
            item.value AS attributes
        FROM
            jsonb_array_elements(
                CASE WHEN jsonb_typeof(schema_table) = 'array' THEN schema_table ELSE '[]' END
            ) WITH ORDINALITY AS item (value, ordinal)
    ) AS listed
    CROSS JOIN LATERAL (
        SELECT
            listed.column_name,
            CASE
                WHEN upper(listed.attributes ->> 'is_nullable') IN ('NO', 'FALSE') THEN 'NO' ELSE 'YES'
            END AS is_nullable,
            upper(coalesce(listed.attributes ->> 'real_data_type', listed.attributes ->> 'data_type'))
                AS real_data_type,
            CASE
                WHEN jsonb_typeof(listed.attributes -> 'numeric_precision') = 'number'
                    THEN listed.attributes -> 'numeric_precision'
            END AS numeric_precision,
            CASE
                WHEN jsonb_typeof(listed.attributes -> 'numeric_scale') = 'number'
                    THEN listed.attributes -> 'numeric_scale'
            END AS numeric_scale,
            coalesce(lower(listed.attributes ->> 'is_primary_key') = 'true', false) AS is_primary_key,
            coalesce(
                lower(listed.attributes ->> 'has_default') = 'true',
                listed.attributes ->> 'default_value' IS NOT NULL
            ) AS has_default,
            listed.attributes ->> 'default_value' AS default_value
    ) AS shown
    WHERE jsonb_typeof(listed.attributes) = 'object' AND listed.column_name IS NOT NULL
$$;

-- The size of the WAL in bytes, from wal_monitor's text for people ('16 MB'); NULL if that is not a size.
CREATE OR REPLACE FUNCTION public.source_details_wal_bytes(total_wal_size text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (part[1]::numeric * 1024 ^ (position(upper(left(part[2], 1)) IN 'BKMGTP') - 1)::numeric)::bigint
    FROM regexp_match(total_wal_size, '^\s*(\d{1,6}(?:\.\d{1,9})?)\s*(bytes|B|kB|MB|GB|TB)\s*$', 'i') AS part
$$;

-- OK, WARNING or ERROR by the thresholds (MB) of rosetta_setting_configuration; NULL if the size is unknown.
CREATE OR REPLACE FUNCTION public.source_details_wal_class(wal_bytes bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        CASE
            WHEN wal_bytes IS NULL THEN NULL
            WHEN wal_bytes >= coalesce(max(mb) FILTER (WHERE config_key LIKE '%ERROR'), 6000) * 1048576 THEN 'ERROR'
            WHEN wal_bytes >= coalesce(max(mb) FILTER (WHERE config_key LIKE '%WARNING'), 3000) * 1048576 THEN 'WARNING'
            ELSE 'OK'
        END
    FROM (
        SELECT config_key, substring(config_value FROM '^\s*(\d{1,12}(?:\.\d+)?)\s*$')::numeric AS mb
        FROM public.rosetta_setting_configuration
        WHERE config_key IN ('WAL_MONITORING_THRESHOLD_WARNING', 'WAL_MONITORING_THRESHOLD_ERROR')
    ) AS thresholds
$$;
