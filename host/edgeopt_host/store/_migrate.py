"""Bringing a database to the newest revision."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from edgeopt_host.errors import StoreError
from edgeopt_host.store.schema import VERSION_TABLE


def migration_config() -> Config:
    """What `alembic` needs to know; no alembic.ini: the package brings its own migrations."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


def migrate(connection: Connection, where: str) -> None:
    """Applies the revisions that are missing, within the connection's transaction.

    Raises:
        StoreError: when the database has a revision that this edgeopt doesn't know.
    """
    config = migration_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    if unknown := set(context.get_current_heads()) - known:
        raise StoreError(
            f"the results' database {where} is from a newer edgeopt "
            f"(revision {', '.join(sorted(unknown))}): update edgeopt-host"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
