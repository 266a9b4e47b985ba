"""Self-contained HTML reports: tables, charts and pictures without network access."""
