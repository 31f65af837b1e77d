"""Serving HTTP: `process` runs one process of the service, `workers` several on one port."""
