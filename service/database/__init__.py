"""The config database: connections, named statements, migrations.

Begin with `pool`, which runs the statements of `sql/` by name. `connection` knows how one connects, `migrations` makes
and repairs the database's own side.
"""
