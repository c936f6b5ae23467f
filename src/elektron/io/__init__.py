"""Files and folders: text and JSON within limits, atomic writes, locks, checksums, hub data sets."""
