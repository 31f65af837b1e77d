"""The documentation: true, linked, built."""
