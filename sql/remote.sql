-- Statements that run on a source. They read catalogs alone, and wait for no table's lock. pg_get_publication_tables(),
-- and pg_get_expr() with a table, open tables. They would wait while another session alters one.

-- name: remote_begin
-- A transaction on a source. Each statement has a snapshot of its own: the older a snapshot is, the more likely it shows
-- a type or table that is gone, and that functions no longer find.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY

-- name: remote_end
-- The end of such a transaction.
COMMIT

-- name: remote_settings
-- The first statement of each transaction on a source: how long a statement may run, and wait for a lock (ms). For this
-- transaction only: a pooler may give the connection to somebody else after it.
SELECT
    -- from 11: without_jit
    set_config('statement_timeout', %(statement_timeout_ms)s, true),
    set_config('lock_timeout', %(lock_timeout_ms)s, true),
    set_config('client_min_messages', 'error', true)

-- name: remote_raw_texts
-- A database with the encoding SQL_ASCII holds any bytes. It would fail to convert those that are not UTF-8.
SET client_encoding = 'SQL_ASCII'

-- name: without_jit
-- Compiling would take longer than running: the statements are long, and their cost is guessed.
set_config('jit', 'off', true),

-- name: remote_server
-- The server and its database. Reading wal_level and the encoding needs no right.
SELECT
    current_database() AS database,
    current_setting('server_version') AS server_version,
    current_setting('wal_level') AS wal_level,
    pg_catalog.pg_is_in_recovery() AS is_standby,
    pg_catalog.current_setting('server_encoding') AS encoding

-- name: remote_incarnation
-- Which server this is. Some servers let no ordinary role run these functions.
SELECT concat_ws('/', s.system_identifier, c.timeline_id) AS incarnation
FROM pg_catalog.pg_control_system() AS s
CROSS JOIN pg_catalog.pg_control_checkpoint() AS c

-- name: remote_position
-- How far the WAL has come. Some servers refuse it while logical replication is off.
SELECT
    here.lsn::text AS wal_lsn,
    (here.lsn - '0/0'::pg_lsn)::bigint AS wal_position
FROM (
    SELECT
        CASE
            WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn()
        END AS lsn
) AS here

-- name: remote_slot
-- The slot of that name, whatever it is; no row if there is none. Columns that only newer servers have are NULL on older
-- ones: wal_status and safe_wal_size (from 13 on), two_phase (14), conflicting (16), invalidation_reason, inactive_since,
-- failover and synced (17).
SELECT
    s.slot_type,
    s.plugin,
    s.database,
    s.database = current_database() AS is_here,
    s.temporary AS is_temporary,
    s.active AS is_active,
    s.restart_lsn::text AS restart_lsn,
    s.confirmed_flush_lsn::text AS confirmed_lsn,
    (s.restart_lsn - '0/0'::pg_lsn)::bigint AS restart_position,
    (s.confirmed_flush_lsn - '0/0'::pg_lsn)::bigint AS confirmed_position,
    newer.wal_status,
    newer.safe_wal_size,
    newer.two_phase,
    newer.conflicting,
    newer.invalidation_reason,
    newer.inactive_since,
    newer.failover,
    newer.synced
FROM pg_catalog.pg_replication_slots AS s
CROSS JOIN LATERAL pg_catalog.jsonb_to_record(pg_catalog.to_jsonb(s)) AS newer (
    wal_status text,
    safe_wal_size bigint,
    two_phase boolean,
    conflicting boolean,
    invalidation_reason text,
    inactive_since timestamptz,
    failover boolean,
    synced boolean
)
WHERE s.slot_name = %(slot)s

-- name: remote_holder
-- The oldest transaction that has not ended, of those that a slot may wait for, if it runs for at least `held_s` (only a
-- transaction that has ended is decoded, and all WAL since it began is kept); and how far the slot's reader was sent the WAL.
-- Whoever lacks the rights of pg_read_all_stats sees neither other roles' sessions (`is_hidden`) nor their readers.
SELECT
    held.kind,
    held.pid,
    held.gid,
    held.role,
    held.database,
    held.since,
    (sender.sent_lsn - '0/0'::pg_lsn)::bigint AS sent_position,
    EXISTS (
        SELECT FROM pg_catalog.pg_stat_activity AS a
        WHERE a.query = '<insufficient privilege>'
    ) AS is_hidden
FROM pg_catalog.pg_replication_slots AS s
LEFT JOIN pg_catalog.pg_stat_replication AS sender ON sender.pid = s.active_pid
LEFT JOIN LATERAL (
    SELECT running.*
    FROM (
        SELECT
            'prepared' AS kind,
            NULL::integer AS pid,
            p.gid,
            p.owner::text AS role,
            p.database::text AS database,
            p.prepared AS since,
            pg_catalog.age(p.transaction) AS age
        FROM pg_catalog.pg_prepared_xacts AS p
        UNION ALL
        SELECT
            'session',
            a.pid,
            NULL,
            a.usename::text,
            a.datname::text,
            a.xact_start,
            pg_catalog.age(a.backend_xid)
        FROM pg_catalog.pg_stat_activity AS a
        WHERE a.backend_xid IS NOT NULL
    ) AS running
    -- The slot needs no transaction from before its catalog_xmin.
    WHERE running.age <= pg_catalog.age(s.catalog_xmin)
    ORDER BY running.age DESC
    LIMIT 1
) AS held ON held.since <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(held_s)s)
WHERE s.slot_name = %(slot)s

-- name: remote_publication
-- Whether a publication exists, the tables that it publishes now by their keys, and the snapshot in which they were read;
-- `named_alike`: how many relations have the name of one of them, as the platform counts tables.
WITH RECURSIVE
-- include: published_relations

named AS (
    SELECT
        (
            -- include: remote_key
        ) AS key,
        (SELECT count(*) FROM pg_catalog.pg_class AS alike WHERE alike.relname = c.relname) AS named_alike
    FROM published AS m
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
)

SELECT
    EXISTS (SELECT FROM publication) AS has_publication,
    EXISTS (SELECT FROM publication AS p WHERE p.puballtables) AS is_all_tables,
    coalesce(pg_catalog.array_agg(named.key), '{}') AS names,
    count(*) AS published_tables,
    coalesce(sum(named.named_alike), 0)::bigint AS named_alike,
    pg_catalog.txid_current_snapshot()::text AS source_snapshot
FROM named

-- name: remote_key
-- Part of others: what tells a table apart from all other tables of its source, as source_details_registered does: its
-- name, or schema.table outside schema public; a part that contains a dot or a double quote is quoted.
CASE WHEN n.nspname <> 'public' THEN
    CASE WHEN n.nspname ~ '[."]' THEN '"' || replace(n.nspname::text, '"', '""') || '"' ELSE n.nspname::text END || '.'
    ELSE ''
END
|| CASE WHEN c.relname ~ '[."]' THEN '"' || replace(c.relname::text, '"', '""') || '"' ELSE c.relname::text END

-- name: published_relations
-- Part of others: the oids of the tables that a publication publishes, as pg_get_publication_tables() computes them. A
-- partitioned table stands for its partitions, or with publish_via_partition_root for itself and not for them. Only
-- tables that are replicated: no unlogged, temporary or foreign ones.
publication AS (
    SELECT
        p.oid,
        p.puballtables,
        p.pubupdate,
        p.pubdelete,
        -- from 13: is_via_root
        -- before 13: is_never_via_root
        -- from 18: generated_by_publication
        -- before 18: never_generated
    FROM pg_catalog.pg_publication AS p
    WHERE p.pubname = %(publication)s
),

named_relations AS (
    SELECT r.prrelid AS oid
    FROM publication AS p
    INNER JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
    -- from 15: relations_of_schemas
    UNION
    SELECT c.oid
    FROM publication AS p
    INNER JOIN pg_catalog.pg_class AS c ON c.oid >= 16384 AND c.relkind IN ('r', 'p')
    WHERE p.puballtables
),

below AS (
    SELECT l.oid AS root, l.oid
    FROM named_relations AS l
    UNION
    SELECT b.root, i.inhrelid
    FROM below AS b
    INNER JOIN pg_catalog.pg_class AS parent ON parent.oid = b.oid AND parent.relkind = 'p'
    INNER JOIN pg_catalog.pg_inherits AS i ON i.inhparent = b.oid
),

published AS (
    SELECT c.oid
    FROM publication AS p
    INNER JOIN named_relations AS l ON p.is_via_root
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = l.oid AND c.relpersistence = 'p' AND c.relkind IN ('r', 'p')
    WHERE NOT EXISTS (SELECT FROM below AS b WHERE b.oid = l.oid AND b.root <> l.oid)
    UNION
    SELECT c.oid
    FROM publication AS p
    INNER JOIN below AS b ON NOT p.is_via_root
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = b.oid AND c.relpersistence = 'p' AND c.relkind = 'r'
),

-- name: is_via_root
-- Whether partitions are published as their root.
p.pubviaroot AS is_via_root,

-- name: is_never_via_root
-- The same before 13.
false AS is_via_root,

-- name: generated_by_publication
-- Whether stored generated columns are published without being listed.
p.pubgencols = 's' AS is_generated_published

-- name: never_generated
-- The same before 18.
false AS is_generated_published

-- name: relations_of_schemas
-- The tables of the schemas that a publication lists.
UNION
SELECT c.oid
FROM publication AS p
INNER JOIN pg_catalog.pg_publication_namespace AS s ON s.pnpubid = p.oid
INNER JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.pnnspid AND c.oid >= 16384 AND c.relkind IN ('r', 'p')

-- name: remote_tables
-- The names of the tables that the platform can add to a publication: those of schema public that can be replicated, by
-- their plain names. Not unlogged, temporary and foreign tables, and not those of extensions.
SELECT
    coalesce(pg_catalog.array_agg(c.relname::text ORDER BY c.relname::text COLLATE "C"), '{}') AS names
FROM pg_catalog.pg_class AS c
WHERE
    c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'public')
    AND c.relkind IN ('r', 'p')
    AND c.relpersistence = 'p'
    AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
