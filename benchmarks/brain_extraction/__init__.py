"""Brain extraction: teachers, synthetic heads, training and judging of the shipped network."""
