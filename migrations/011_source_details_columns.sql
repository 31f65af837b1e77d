-- 011: what a sync knows of a table's columns beyond what the platform records.
--
-- The platform's schema monitor compares schema_table as a whole with what the source's role reads through
-- information_schema, and takes any difference for a new version. That view of a table is not always true: a role without
-- more than SELECT sees no keys, and none of the columns that it may not read. So schema_table keeps what the platform
-- would write, and the truth stands beside it where it differs.
ALTER TABLE public.table_metadata_list ADD COLUMN IF NOT EXISTS source_columns jsonb;

COMMENT ON COLUMN public.table_metadata_list.source_columns IS
'The columns as they are at the source, in order, if schema_table does not say so; `of` is the md5 of the schema_table that they belong to.';
