-- The rights that the service needs in the config database, and no more. Run it as the owner of the platform's tables,
-- after the migrations and again after new ones:
--
--   psql -d rosetta_config -f roles.sql
--   psql -d rosetta_config -c "ALTER ROLE rosetta_service PASSWORD '...'"
--
-- The migrations themselves need the owner (ROSETTA_MIGRATE_DSN), and a superuser once, for the event trigger. The
-- triggers and the refresh write with their owner's rights.
--
-- In a source the service reads only catalogs; it needs no right on any table there:
--
--   CREATE ROLE rosetta_reader LOGIN PASSWORD '...';
--   GRANT CONNECT ON DATABASE shop TO rosetta_reader;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rosetta_service') THEN
        CREATE ROLE rosetta_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO rosetta_service;

-- What pages show. The password column, which is encrypted, is read to connect to a source.
GRANT SELECT ON
    public.sources, public.pipelines, public.pipelines_destination, public.wal_monitor,
    public.table_metadata_list, public.history_schema_evolution, public.rosetta_setting_configuration,
    public.source_details_sources, public.source_details_live, public.source_details_tables,
    public.source_details_log, public.source_details_refresh_state,
    public.source_details_registered, public.source_details_versions
    TO rosetta_service;

-- Not what a destination is reached with. (An earlier version of this file granted the whole table.)
REVOKE SELECT ON public.destinations FROM rosetta_service;
GRANT SELECT (id, name, type) ON public.destinations TO rosetta_service;

-- These work with their owner's rights, so not everybody may call them.
GRANT EXECUTE ON FUNCTION
    public.source_details_health_facts(integer), public.source_details_refresh(boolean),
    public.source_details_refresh_if_due(double precision), public.source_details_triggers()
    TO rosetta_service;

-- What a sync writes.
GRANT UPDATE (
    is_publication_enabled, is_replication_enabled, last_check_replication_publication, total_tables, updated_at
) ON public.sources TO rosetta_service;
GRANT INSERT, UPDATE ON public.table_metadata_list TO rosetta_service;
GRANT INSERT, UPDATE (at_source) ON public.history_schema_evolution TO rosetta_service;
GRANT SELECT, INSERT, UPDATE ON
    public.source_details_other_tables, public.source_details_other_versions
    TO rosetta_service;
GRANT SELECT, INSERT, UPDATE ON public.source_details_sync_state TO rosetta_service;

-- The schedule, and the WAL monitor.
GRANT SELECT, INSERT, UPDATE ON public.source_details_schedule TO rosetta_service;
GRANT SELECT, UPDATE ON public.source_details_wal_round TO rosetta_service;
GRANT SELECT, INSERT, DELETE ON public.source_details_lag TO rosetta_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    public.source_details_activity, public.source_details_activity_round
    TO rosetta_service;
GRANT INSERT, UPDATE ON public.wal_monitor TO rosetta_service;

-- The timeline, and the notices for webhooks.
GRANT SELECT, INSERT, DELETE, UPDATE (is_noticed) ON public.source_details_timeline TO rosetta_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.source_details_notices TO rosetta_service;

GRANT USAGE ON SEQUENCE
    public.table_metadata_list_id_seq, public.history_schema_evolution_id_seq, public.wal_monitor_id_seq
    TO rosetta_service;

-- For bin/migrate --check and rosetta doctor.
GRANT SELECT ON public.source_details_migrations TO rosetta_service;
