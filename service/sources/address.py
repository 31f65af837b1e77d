"""Where a source is, as the config database says."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where a source is and how to log in. Two addresses are equal if both are."""

    id: int
    pg_host: str
    pg_port: int
    pg_database: str
    pg_username: str
    pg_password: str | None = field(repr=False)
    publication_name: str
    replication_name: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> "SourceAddress":
        """From a row that holds the connection columns."""
        return cls(**{each.name: row[each.name] for each in fields(cls)})

    @property
    def connection_key(self) -> tuple[str | int | None, ...]:
        """What a connection depends on: addresses with the same key can share one. Holds the encrypted password."""
        return self.pg_host, self.pg_port, self.pg_database, self.pg_username, self.pg_password

    @property
    def publication_key(self) -> str:
        """Identifies the publication and its database. Holds no secret."""
        return f"{self.pg_username}@{self.pg_host}:{self.pg_port}/{self.pg_database}#{self.publication_name}"
