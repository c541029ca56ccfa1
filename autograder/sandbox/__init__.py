"""The pipe between judge and worker, the worker itself, and the walls around it."""
