"""A package that knows gliodistill and is not known by it."""
