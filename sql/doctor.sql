-- name: lacking
-- What the service needs and does not find, one row per finding: `kind` is missing (a relation), right, no index, or
-- broken index; `migration` is the one that makes it (001 is the platform's own).
-- The wanted rights are those of service/deploy/roles.sql; a test revokes each of them.
WITH wanted (migration, relation, privileges) AS (
    VALUES
        ('001', 'sources', 'SELECT'),
        ('001', 'destinations', 'SELECT'),
        ('001', 'pipelines', 'SELECT'),
        ('001', 'pipelines_destination', 'SELECT'),
        ('001', 'wal_monitor', 'SELECT INSERT UPDATE'),
        ('001', 'table_metadata_list', 'SELECT INSERT UPDATE'),
        ('001', 'history_schema_evolution', 'SELECT INSERT'),
        ('001', 'rosetta_setting_configuration', 'SELECT'),
        ('008', 'source_details_sources', 'SELECT'),
        ('008', 'source_details_live', 'SELECT'),
        ('008', 'source_details_tables', 'SELECT'),
        ('008', 'source_details_log', 'SELECT'),
        ('008', 'source_details_refresh_state', 'SELECT'),
        ('008', 'source_details_sync_state', 'SELECT INSERT UPDATE'),
        ('012', 'source_details_schedule', 'SELECT INSERT UPDATE'),
        ('013', 'source_details_wal_round', 'SELECT UPDATE'),
        ('013', 'source_details_lag', 'SELECT INSERT DELETE')
),

found AS (
    SELECT
        w.migration,
        w.relation,
        c.oid AS relation_oid,
        privilege.name AS privilege
    FROM wanted AS w
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || w.relation)
    CROSS JOIN LATERAL string_to_table(w.privileges, ' ') AS privilege (name)
)

SELECT DISTINCT
    'missing' AS kind,
    f.relation AS what,
    f.migration
FROM found AS f
WHERE f.relation_oid IS NULL
UNION ALL
SELECT
    'right' AS kind,
    format('%%s ON %%s', f.privilege, f.relation) AS what,
    f.migration
FROM found AS f
WHERE f.relation_oid IS NOT NULL AND NOT has_table_privilege(f.relation_oid, f.privilege)
UNION ALL
SELECT
    'right' AS kind,
    format('UPDATE (%%s) ON sources', a.attname) AS what,
    '001' AS migration
FROM pg_catalog.pg_attribute AS a
WHERE
    a.attrelid = to_regclass('public.sources')
    AND a.attname IN (
        'is_publication_enabled', 'is_replication_enabled', 'last_check_replication_publication', 'total_tables',
        'updated_at'
    )
    AND NOT has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
UNION ALL
SELECT
    'right' AS kind,
    format('USAGE ON SEQUENCE %%s', s.relname) AS what,
    '001' AS migration
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
    index.migration
FROM (
    VALUES
        ('007', 'idx_history_schema_evolution_table_version_composite'),
        ('007', 'idx_table_metadata_list_source_id_covering'),
        ('007', 'idx_pipelines_source_id'),
        ('007', 'idx_pipelines_destination_composite'),
        ('008', 'source_details_tables_table_id'),
        ('008', 'source_details_tables_source_id'),
        ('008', 'source_details_tables_view_snapshot'),
        ('012', 'source_details_schedule_due_at')
) AS index (migration, name)
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = to_regclass('public.' || index.name)
WHERE i.indexrelid IS NULL OR NOT i.indisvalid

-- name: encrypted_passwords
-- Each source with its password as it is stored.
SELECT
    s.id,
    s.name,
    s.pg_password
FROM public.sources AS s
WHERE s.pg_password IS NOT NULL
ORDER BY s.id
