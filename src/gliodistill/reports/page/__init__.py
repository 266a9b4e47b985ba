"""The page: markup, style, tables."""
