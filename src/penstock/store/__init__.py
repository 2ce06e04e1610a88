"""SQLite: schema and migrations, the workflow store, the catalogue, queries, exports."""
