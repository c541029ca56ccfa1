"""The small assignment has no pictures, and its weights are drawn by its checks."""


def write_weights(path, seeds, rubric):
    path.write_bytes(bytes(4))
    return {}
