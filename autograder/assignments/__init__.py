"""Assignments: one folder each."""
