"""The study behind the demo, and the teacher that it brings along."""
