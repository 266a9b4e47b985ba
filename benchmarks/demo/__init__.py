"""The study behind the demo, and the demo's teacher."""
