"""What a person's machine may hold in its environment that is not meant for servers of our own."""

import os

# libpq's variables, the service's settings, tracing.
_OTHERS = ("PG", "ROSETTA_", "CREDENTIAL_ENCRYPTION_KEY", "OTEL_")


def forget() -> None:
    """Removes variables that would lead this process, or what it starts, to other servers.

    https://www.postgresql.org/docs/current/libpq-envars.html
    """
    for name in list(os.environ):
        if name.startswith(_OTHERS) or name.lower().endswith("_proxy"):
            del os.environ[name]
