"""A Ray cluster of two raylets on loopback, one core each, and several training processes."""
