"""Judging segmentation networks: what an assignment says of a network (``spec``), and what a student's is held against."""
