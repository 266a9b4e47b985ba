"""Studies: named sequences on one grid, label conventions, and the layouts they come in."""
