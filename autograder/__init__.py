"""The autograder: judges submissions. Student code never runs in a process of this package but in its worker."""
