-- name: lacking
-- What the service needs and does not find, one row per finding: `kind` is missing (a relation), right, no index, or
-- broken index; `is_platforms`: it belongs to the platform.
-- The wanted rights are those of service/deploy/roles.sql; a test revokes each of them.
WITH wanted (relation, privileges, is_platforms) AS (
    VALUES
        ('sources', 'SELECT', true),
        ('pipelines', 'SELECT', true),
        ('pipelines_destination', 'SELECT', true),
        ('wal_monitor', 'SELECT INSERT UPDATE', true),
        ('table_metadata_list', 'SELECT INSERT UPDATE', true),
        ('history_schema_evolution', 'SELECT INSERT', true),
        ('rosetta_setting_configuration', 'SELECT', true),
        ('source_details_sources', 'SELECT', false),
        ('source_details_live', 'SELECT', false),
        ('source_details_tables', 'SELECT', false),
        ('source_details_log', 'SELECT', false),
        ('source_details_refresh_state', 'SELECT', false),
        ('source_details_sync_state', 'SELECT INSERT UPDATE', false),
        ('source_details_schedule', 'SELECT INSERT UPDATE', false),
        ('source_details_wal_round', 'SELECT UPDATE', false),
        ('source_details_lag', 'SELECT INSERT DELETE', false),
        ('source_details_activity', 'SELECT INSERT UPDATE DELETE', false),
        ('source_details_activity_round', 'SELECT INSERT UPDATE DELETE', false),
        ('source_details_timeline', 'SELECT INSERT DELETE', false),
        ('source_details_notices', 'SELECT INSERT UPDATE DELETE', false),
        ('source_details_registered', 'SELECT', false),
        ('source_details_versions', 'SELECT', false),
        ('source_details_other_tables', 'SELECT INSERT UPDATE', false),
        ('source_details_other_versions', 'SELECT INSERT UPDATE', false)
),

found AS (
    SELECT
        w.relation,
        w.is_platforms,
        c.oid AS relation_oid,
        privilege.name AS privilege
    FROM wanted AS w
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || w.relation)
    CROSS JOIN LATERAL string_to_table(w.privileges, ' ') AS privilege (name)
)

SELECT DISTINCT
    'missing' AS kind,
    f.relation AS what,
    f.is_platforms
FROM found AS f
WHERE f.relation_oid IS NULL
UNION ALL
SELECT
    'right' AS kind,
    format('%%s ON %%s', f.privilege, f.relation) AS what,
    f.is_platforms
FROM found AS f
WHERE f.relation_oid IS NOT NULL AND NOT has_table_privilege(f.relation_oid, f.privilege)
UNION ALL
SELECT
    'right' AS kind,
    format('%%s (%%s) ON %%s', w.privilege, w.name, w.relation) AS what,
    w.is_platforms
FROM (
    VALUES
        ('sources', 'UPDATE', 'is_publication_enabled', true),
        ('sources', 'UPDATE', 'is_replication_enabled', true),
        ('sources', 'UPDATE', 'last_check_replication_publication', true),
        ('sources', 'UPDATE', 'total_tables', true),
        ('sources', 'UPDATE', 'updated_at', true),
        ('destinations', 'SELECT', 'id', true),
        ('destinations', 'SELECT', 'name', true),
        ('destinations', 'SELECT', 'type', true),
        ('history_schema_evolution', 'UPDATE', 'at_source', false),
        ('source_details_timeline', 'UPDATE', 'is_noticed', false)
) AS w (relation, privilege, name, is_platforms)
INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = to_regclass('public.' || w.relation) AND a.attname = w.name
WHERE NOT has_column_privilege(a.attrelid, a.attnum, w.privilege)
UNION ALL
SELECT
    'right' AS kind,
    format('EXECUTE ON FUNCTION %%s', f.name) AS what,
    false AS is_platforms
FROM (
    VALUES
        ('source_details_health_facts(integer)'),
        ('source_details_refresh(boolean)'),
        ('source_details_refresh_if_due(double precision)'),
        ('source_details_triggers()')
) AS f (name)
WHERE NOT has_function_privilege(to_regprocedure('public.' || f.name), 'EXECUTE')
UNION ALL
SELECT
    'right' AS kind,
    format('USAGE ON SEQUENCE %%s', s.relname) AS what,
    true AS is_platforms
FROM pg_catalog.pg_class AS s
WHERE
    s.oid IN (
        to_regclass('public.table_metadata_list_id_seq'), to_regclass('public.history_schema_evolution_id_seq'),
        to_regclass('public.wal_monitor_id_seq')
    )
    AND NOT has_sequence_privilege(s.oid, 'USAGE')
UNION ALL
SELECT
    CASE WHEN i.indexrelid IS NULL THEN 'no index' ELSE 'broken index' END AS kind,
    index.name AS what,
    false AS is_platforms
FROM (
    VALUES
        ('idx_history_schema_evolution_table_version_composite'),
        ('idx_table_metadata_list_source_id_covering'),
        ('idx_pipelines_source_id'),
        ('idx_pipelines_destination_composite'),
        ('source_details_tables_table_id'),
        ('source_details_tables_source_id'),
        ('source_details_tables_view_snapshot'),
        ('source_details_schedule_due_at'),
        ('source_details_timeline_source'),
        ('source_details_timeline_id'),
        ('source_details_timeline_unnoticed'),
        ('source_details_notices_waiting'),
        ('source_details_notices_due'),
        ('source_details_notices_latest')
) AS index (name)
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = to_regclass('public.' || index.name)
WHERE i.indexrelid IS NULL OR NOT i.indisvalid

-- name: encrypted_passwords
-- Each source with its password as stored: encrypted.
SELECT
    s.id,
    s.name,
    s.pg_password
FROM public.sources AS s
WHERE s.pg_password IS NOT NULL
ORDER BY s.id
