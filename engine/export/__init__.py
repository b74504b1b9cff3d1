"""Writing a selection out: record forms, writers, where a file may lie, the manifest, and `export` itself."""
