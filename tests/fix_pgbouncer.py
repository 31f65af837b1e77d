"""PgBouncer in transaction mode, where one is installed that knows prepared statements (1.22 and later)."""

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from service.demo.reaper import Reaper
from service.demo.servers import Server
from tests.fix_servers import Servers

_FIRST_THAT_PREPARES = (1, 22)
_PATIENCE_S = 60


class PgBouncer(Server):
    """In front of the server of `dsn`; `sessions` is the most that it has there, per database."""

    def __init__(self, reaper: Reaper, name: str, dsn: str, *, sessions: int) -> None:
        super().__init__(reaper, name, 0)
        self._target = conninfo_to_dict(dsn)
        self._sessions = sessions

    def dsn(self, dsn: str) -> str:
        """The same database through the pooler."""
        return make_conninfo(dsn, host="127.0.0.1", port=self.port)

    def start(self) -> None:
        """Returns when it answers."""
        self.folder.mkdir(parents=True)
        target = self._target
        users = self.folder / "users"
        users.write_text(f'"{target["user"]}" "{target["password"]}"\n')
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(
            f"""
            [databases]
            * = host={target["host"]} port={target["port"]}

            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = plain
            auth_file = {users}
            pool_mode = transaction
            default_pool_size = {self._sessions}
            max_prepared_statements = 100
            """
        )
        user = None
        if os.geteuid() == 0:
            user = "nobody"
            for path in (self.folder, users, configuration):
                os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        self._spawn(["pgbouncer", str(configuration)], user)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                psycopg.connect(make_conninfo("", **self._target | {"host": "127.0.0.1", "port": self.port})).close()
            except psycopg.OperationalError:
                assert self.is_running, self.log()
                assert time.monotonic() < deadline, self.log()
            else:
                return

    def stop(self) -> None:
        """Ends it at once."""
        self.kill()


@pytest.fixture(params=[1, 4], ids=["one session", "four sessions"])
def pgbouncer(
    request: pytest.FixtureRequest, servers: Servers, config_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgBouncer]:
    """One in front of the config database."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer is installed on this machine")
    text = subprocess.run(["pgbouncer", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"PgBouncer (\d+)\.(\d+)", text)
    if version is None or tuple(map(int, version.groups())) < _FIRST_THAT_PREPARES:
        pytest.skip(f"this PgBouncer does not know prepared statements: {text.splitlines()[0]}")
    bouncer = PgBouncer(servers.reaper, tmp_path_factory.mktemp("pgbouncer").name, config_dsn, sessions=request.param)
    bouncer.start()
    yield bouncer
    bouncer.stop()
