"""The JSON API, one file a resource; each adds its routes to the application."""
