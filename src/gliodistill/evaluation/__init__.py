"""Evaluation: metrics, rule sets, scoring of a folder, statistics.

In reading order:

1. ``evaluate``: from two folders to scores; ``predictions``, ``matching`` and ``pairs``: the
   prediction of every study, and whether it can be compared.
2. ``tasks``, ``rules``: which regions, and what counts; ``metrics``, ``surfaces``, ``lesions``,
   ``calibration``: the numbers.
3. ``scores``: the values of a cohort.
4. ``comparison``: models against each other; ``comparability``, ``contrasts``, ``statistics``,
   ``ranking`` and ``strata``: its parts; ``conclusions``: in words.
"""
