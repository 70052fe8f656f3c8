"""Reading data: one reader per file format, the prepared store, batches; numpy only."""
