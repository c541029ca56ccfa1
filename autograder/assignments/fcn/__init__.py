"""The assignment ``fcn``: FCN-32s and FCN-8s on facades."""
