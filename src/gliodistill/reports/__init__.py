"""The self-contained HTML report: tables, charts and pictures that open by double-click, with no
network.
"""
