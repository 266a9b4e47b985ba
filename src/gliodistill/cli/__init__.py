"""The program ``gliodistill``: one command a verb, each a thin face over the rooms."""
