"""Writing selections to files, with the manifest that reproduces them."""
