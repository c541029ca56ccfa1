"""segkit: the helper package of the course on semantic segmentation with fully convolutional networks."""

__version__ = "0.1.0"
