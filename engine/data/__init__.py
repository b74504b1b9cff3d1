"""Reading instruction data: samples, schemas, readers, intake, signals and the demo pool."""
