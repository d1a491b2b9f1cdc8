"""One file per experiment; each says only how it differs from the library's defaults."""
