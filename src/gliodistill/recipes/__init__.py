"""Recipes: the schema, reading, and the YAML files that ship."""
