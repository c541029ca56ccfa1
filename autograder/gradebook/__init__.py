"""nbgrader: clean copies of raw hand-ins for it, the judge in the place of its kernel, its database."""
