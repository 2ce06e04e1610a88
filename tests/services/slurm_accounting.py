"""slurmdbd with a MariaDB of its own, for a Slurm that remembers."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path

from .daemons import Home, free_ports, listens, programs_missing

_PROGRAMS = {
    "slurmdbd": "slurmdbd",
    "sacctmgr": "slurm-client",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}


class SlurmAccounting:
    """Lives in the directory of the Slurm it is for."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._port, self._database_port = free_ports(2)
        self._password = secrets.token_hex(16)

    @staticmethod
    def packages_missing() -> list[str]:
        """The Debian packages it needs that are not there."""
        plugin = any(Path("/usr/lib").glob("*/slurm*/accounting_storage_mysql.so"))
        return [*programs_missing(_PROGRAMS), *([] if plugin else ["slurm-wlm-mysql-plugin"])]

    def slurm_settings(self, munge_socket: Path) -> list[str]:
        """Lines of slurm.conf."""
        return [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={self._port}",
            f"AccountingStoragePass={munge_socket}",
            "AccountingStoreFlags=job_comment,job_script",
        ]

    def start(self, munge_socket: Path) -> None:
        """Start both, and wait until slurmdbd listens."""
        self._start_database()
        self._start_slurmdbd(munge_socket)

    def stop(self) -> None:
        """End both; what they know is lost."""
        self._home.signal(["slurmdbd"])
        self._home.signal(["mariadbd"], signal.SIGKILL)

    def _start_database(self) -> None:
        home = self._home
        data = home.directory("mysql", owner="mysql", mode=0o700)
        sockets = home.directory("mysql-run", owner="mysql")
        options = ["--no-defaults", "--user=mysql", f"--datadir={data}"]
        small = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"]
        fresh = ["--auth-root-authentication-method=socket", "--skip-test-db"]
        home.run(["mariadb-install-db", *options, *small, *fresh])
        listening = ["--bind-address=127.0.0.1", f"--port={self._database_port}", f"--socket={sockets}/socket"]
        lasting = ["--skip-log-bin", "--innodb-lock-wait-timeout=900", f"--pid-file={sockets}/pid"]
        home.launch("mariadbd", ["mariadbd", *options, *small, *listening, *lasting])
        home.wait_for(lambda: listens(self._database_port), "MariaDB listens")
        accounts = ""
        for account in ("slurm@'127.0.0.1'", "slurm@localhost"):
            accounts += f"create user {account} identified by '{self._password}';"
            accounts += f"grant all on slurm_acct_db.* to {account};"
        home.run(["mariadb", "--no-defaults", f"--socket={sockets}/socket"], stdin=accounts)

    def _start_slurmdbd(self, munge_socket: Path) -> None:
        home = self._home
        lines = [
            "AuthType=auth/munge",
            f"AuthInfo=socket={munge_socket}",
            "DbdHost=localhost",
            "DbdAddr=127.0.0.1",
            f"DbdPort={self._port}",
            "CommunicationParameters=NoInAddrAny",
            "SlurmUser=slurm",
            f"PidFile={home.path}/run/slurmdbd.pid",
            f"LogFile={home.path}/log/slurmdbd.log",
            "StorageType=accounting_storage/mysql",
            "StorageHost=127.0.0.1",
            f"StoragePort={self._database_port}",
            "StorageUser=slurm",
            f"StoragePass={self._password}",
            "StorageLoc=slurm_acct_db",
            "CommitDelay=1",
        ]
        home.file("slurmdbd.conf", "\n".join(lines) + "\n", owner="slurm", mode=0o600)
        home.run(["slurmdbd"])
        home.wait_for(lambda: listens(self._port), "slurmdbd listens")
