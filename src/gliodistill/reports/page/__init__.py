"""HTML pages: markup, style, tables."""
