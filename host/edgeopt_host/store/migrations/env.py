"""Run by alembic, on the connection that `_migrate.migrate` hands over."""

from alembic import context

from edgeopt_host.store.schema import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    # SQLite cannot alter a table: alembic then copies it.
    render_as_batch=True,
)
context.run_migrations()
