-- 001: the base tables of rosetta_config, where they are missing.
--
-- The platform's programs own these tables and fix their columns. On a database that the platform made, every
-- statement below finds its table there and changes nothing; on an empty one they let the service run alone.

CREATE TABLE IF NOT EXISTS public.sources (
    id serial PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    pg_host varchar(255) NOT NULL,
    pg_port integer NOT NULL DEFAULT 5432,
    pg_database varchar(255) NOT NULL,
    pg_username varchar(255) NOT NULL,
    pg_password varchar(255),                       -- base64(nonce || AES-256-GCM ciphertext || tag)
    publication_name varchar(255) NOT NULL,
    replication_name varchar(255) NOT NULL,         -- the replication slot
    is_publication_enabled boolean NOT NULL DEFAULT false,
    is_replication_enabled boolean NOT NULL DEFAULT false,
    last_check_replication_publication timestamptz,
    total_tables integer NOT NULL DEFAULT 0,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.destinations (
    id serial PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    type varchar(50) NOT NULL DEFAULT 'SNOWFLAKE',
    config jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.pipelines (
    id serial PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    source_id integer NOT NULL REFERENCES public.sources (id) ON DELETE CASCADE,
    status varchar(20) NOT NULL DEFAULT 'PAUSE',    -- START, PAUSE or REFRESH
    ready_refresh boolean NOT NULL DEFAULT false,
    last_refresh_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.pipelines_destination (
    id serial PRIMARY KEY,
    pipeline_id integer NOT NULL REFERENCES public.pipelines (id) ON DELETE CASCADE,
    destination_id integer NOT NULL REFERENCES public.destinations (id) ON DELETE CASCADE,
    is_error boolean NOT NULL DEFAULT false,
    error_message text,
    last_error_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.wal_monitor (
    id serial PRIMARY KEY,
    source_id integer NOT NULL REFERENCES public.sources (id) ON DELETE CASCADE,
    wal_lsn varchar(255),
    wal_position bigint,
    last_wal_received timestamptz,
    last_transaction_time timestamptz,
    replication_slot_name varchar(255),
    replication_lag_bytes bigint,
    total_wal_size varchar(255),                    -- for people: '640 MB'
    status varchar(20) DEFAULT 'ACTIVE',            -- ACTIVE, IDLE or ERROR
    error_message text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT unique_source_wal UNIQUE (source_id)
);

CREATE TABLE IF NOT EXISTS public.table_metadata_list (
    id serial PRIMARY KEY,
    source_id integer NOT NULL REFERENCES public.sources (id) ON DELETE CASCADE,
    table_name varchar(255),
    schema_table jsonb,                             -- object keyed by column name
    is_changes_schema boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT uq_table_metadata_source_table UNIQUE (source_id, table_name)
);

CREATE TABLE IF NOT EXISTS public.history_schema_evolution (
    id serial PRIMARY KEY,
    table_metadata_list_id integer NOT NULL REFERENCES public.table_metadata_list (id) ON DELETE CASCADE,
    schema_table_old jsonb,
    schema_table_new jsonb,
    changes_type varchar(20),                       -- INITIAL_LOAD, NEW COLUMN, DROP COLUMN or CHANGES TYPE
    version_schema integer,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT uq_history_schema_version UNIQUE (table_metadata_list_id, version_schema)
);

-- The thresholds (in MB) are inserted only with the table itself: an operator may have deleted or changed
-- them on purpose in a table that was there before.
DO $$
BEGIN
    IF to_regclass('public.rosetta_setting_configuration') IS NULL THEN
        CREATE TABLE public.rosetta_setting_configuration (
            id serial PRIMARY KEY,
            config_key varchar(255) NOT NULL UNIQUE,
            config_value varchar(255) NOT NULL,
            created_at timestamptz DEFAULT current_timestamp,
            updated_at timestamptz DEFAULT current_timestamp
        );
        INSERT INTO public.rosetta_setting_configuration (config_key, config_value)
        VALUES
            ('WAL_MONITORING_THRESHOLD_WARNING', '3000'),
            ('WAL_MONITORING_THRESHOLD_ERROR', '6000');
    END IF;
END
$$;
