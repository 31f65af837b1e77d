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

-- How long ago that was, in whole seconds; NULL if there is no such moment, or if it is infinite.
CREATE OR REPLACE FUNCTION public.source_details_age(moment timestamptz) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
    SELECT CASE WHEN isfinite(moment) THEN extract(EPOCH FROM clock_timestamp() - moment)::bigint END
$$;

-- The columns that a schema_table describes. It is an object keyed by column name, or a list; anything else counts as no
-- columns. A single SELECT, like the two below, so that the planner inlines it.
CREATE OR REPLACE FUNCTION public.source_details_entries(schema_table jsonb)
RETURNS TABLE (ordinal bigint, column_name text, attributes jsonb)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT listed.ordinal, listed.column_name, listed.attributes
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
    WHERE jsonb_typeof(listed.attributes) = 'object' AND listed.column_name IS NOT NULL
$$;

-- The schema that pages show: each column as it was at the source at the last sync, if what is recorded of it is still
-- the same. What another program has recorded since is shown as recorded, until the next sync.
CREATE OR REPLACE FUNCTION public.source_details_schema(schema_table jsonb, at_source jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT
        CASE
            WHEN at_source IS NULL OR jsonb_typeof(schema_table) IS DISTINCT FROM 'object' THEN schema_table
            WHEN at_source ->> 'of' = md5(schema_table::text) THEN at_source -> 'columns'
            ELSE (
                SELECT
                    coalesce(
                        jsonb_agg(
                            CASE
                                WHEN entry.attributes IS NULL OR held.value ->> 'of' = md5(entry.attributes::text)
                                    THEN held.value
                                ELSE entry.attributes
                            END
                            ORDER BY held.ordinal NULLS LAST, entry.column_name COLLATE "C"
                        ),
                        '[]'
                    )
                FROM
                    jsonb_array_elements(at_source -> 'columns') WITH ORDINALITY AS held (value, ordinal)
                FULL JOIN public.source_details_entries(schema_table) AS entry
                    ON entry.column_name = held.value ->> 'column_name'
                -- A column that the role does not see was never recorded; any other that is not recorded was dropped.
                WHERE entry.attributes IS NOT NULL OR held.value ->> 'of' IS NULL
            )
        END
$$;

-- What a rename keeps of a table and its columns, while schema_table is what the sync recorded: the server with the OID, and
-- the columns' numbers by name. NULL if no sync has seen them.
CREATE OR REPLACE FUNCTION public.source_details_identity(schema_table jsonb, at_source jsonb) RETURNS json
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT json_build_object('relation', at_source -> 'relation', 'attnums', at_source -> 'attnums')
    WHERE at_source ->> 'relation' IS NOT NULL AND at_source ->> 'of' = md5(schema_table::text)
$$;

-- The columns of such a schema, each as pages show it: first what the platform has always shown, then what a sync has
-- seen at the source besides.
CREATE OR REPLACE FUNCTION public.source_details_columns(schema_table jsonb)
RETURNS TABLE (ordinal bigint, column_name text, shown json)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        listed.ordinal,
        listed.column_name,
        CASE
            WHEN more.members IS NULL THEN row_to_json(shown)
            ELSE concat(rtrim(row_to_json(shown)::text, '}'), ',', substr(more.members::text, 2))::json
        END AS shown
    FROM public.source_details_entries(schema_table) AS listed
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
    CROSS JOIN LATERAL (
        SELECT nullif(
            listed.attributes
            - '{column_name,is_nullable,real_data_type,numeric_precision,numeric_scale,is_primary_key}'::text []
            - '{has_default,default_value,of}'::text [],
            '{}'
        ) AS members
        WHERE listed.attributes ? 'of'
        UNION ALL
        SELECT NULL
        WHERE NOT listed.attributes ? 'of'
    ) AS more
$$;

-- The name that pages show for a table's key (see source_details_registered).
CREATE OR REPLACE FUNCTION public.source_details_plain_name(key text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT
        CASE
            WHEN key LIKE '"%' AND key ~ '^"([^"]|"")+"$' THEN replace(substr(key, 2, length(key) - 2), '""', '"')
            ELSE key
        END
$$;

-- A column's type as people write it: with the type that its domain is made of; as recorded if that is all there is.
CREATE OR REPLACE FUNCTION public.source_details_type(attributes jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT
        coalesce(
            attributes ->> 'data_type' || coalesce(' (' || (attributes ->> 'base_type') || ')', ''),
            CASE attributes ->> 'real_data_type'
                WHEN 'ARRAY' THEN 'array (elements not recorded)'
                WHEN 'USER-DEFINED' THEN 'user-defined (name not recorded)'
                ELSE attributes ->> 'real_data_type'
            END
        )
$$;

-- The size of the WAL in bytes, from wal_monitor's text for people ('16 MB'); NULL if that is not a size.
CREATE OR REPLACE FUNCTION public.source_details_wal_bytes(total_wal_size text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (part[1]::numeric * 1024 ^ (position(upper(left(part[2], 1)) IN 'BKMGTP') - 1)::numeric)::bigint
    FROM regexp_match(total_wal_size, '^\s*(\d{1,6}(?:\.\d{1,9})?)\s*(bytes|B|kB|MB|GB|TB)\s*$', 'i') AS part
$$;

-- From how many bytes on the WAL that a slot retains is a warning, and an error: rosetta_setting_configuration has them
-- in MB.
CREATE OR REPLACE FUNCTION public.source_details_wal_thresholds(OUT warning_bytes bigint, OUT error_bytes bigint)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        (coalesce(max(mb) FILTER (WHERE config_key LIKE '%WARNING'), 3000) * 1048576)::bigint,
        (coalesce(max(mb) FILTER (WHERE config_key LIKE '%ERROR'), 6000) * 1048576)::bigint
    FROM (
        SELECT config_key, substring(config_value FROM '^\s*(\d{1,12}(?:\.\d+)?)\s*$')::numeric AS mb
        FROM public.rosetta_setting_configuration
        WHERE config_key IN ('WAL_MONITORING_THRESHOLD_WARNING', 'WAL_MONITORING_THRESHOLD_ERROR')
    ) AS thresholds
$$;

-- OK, WARNING or ERROR by those thresholds; NULL if the size is unknown.
CREATE OR REPLACE FUNCTION public.source_details_wal_class(wal_bytes bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        CASE
            WHEN wal_bytes IS NULL THEN NULL
            WHEN wal_bytes >= error_bytes THEN 'ERROR'
            WHEN wal_bytes >= warning_bytes THEN 'WARNING'
            ELSE 'OK'
        END
    FROM public.source_details_wal_thresholds()
$$;
