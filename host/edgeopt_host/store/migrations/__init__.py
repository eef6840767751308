"""Alembic's scripts: env.py, and versions/ in the order of their numbers."""
