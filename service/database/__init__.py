"""The config database: connections, named statements, migrations.

Start with `pool`, which runs the statements of `sql/` by name. `connection` opens connections, `migrations` makes and
repairs the service's objects in the database.
"""
