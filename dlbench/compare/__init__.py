"""Comparing two records: is the new one slower?

Two records were measured at different times, often on different machines, so this says less than
the gate, which measures both sides in turn. What differs is named, and few processes give wide
intervals.
"""
