"""The tables of layers themselves. They are the students', who read them and whose checks compare with them; no worker of the grader
has them.

References:
    Long, Shelhamer & Darrell, CVPR 2015; Simonyan & Zisserman, ICLR 2015, configuration D.
"""

from typing import Any

from segkit.layer import Layer

__all__ = ["VGG16_FEATURES", "specified"]

# position in torchvision's vgg16().features -> name here
VGG16_FEATURES = {
    0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2", 14: "conv3_3",
    17: "conv4_1", 19: "conv4_2", 21: "conv4_3", 24: "conv5_1", 26: "conv5_2", 28: "conv5_3",
}  # fmt: skip


def _convolution(inputs: int, outputs: int, kernel: int, padding: int = 0) -> dict[str, Any]:
    return {
        "in_channels": inputs, "out_channels": outputs, "kernel_size": kernel, "stride": 1, "padding": padding,
        "dilation": 1, "groups": 1, "bias": True,
    }  # fmt: skip


def _transposed(n_class: int, factor: int) -> dict[str, Any]:
    return {
        "in_channels": n_class, "out_channels": n_class, "kernel_size": 2 * factor, "stride": factor, "padding": 0,
        "output_padding": 0, "dilation": 1, "groups": 1, "bias": False,
    }  # fmt: skip


# name of a layer after the head -> (channels in, or the factor of an upsampling)
TAILS = {
    "fcn32s": {"transpose_conv": 32},
    "fcn16s": {"score_pool_4": 512, "upscore1": 2, "upscore2": 16},
    "fcn8s": {"score_pool_4": 512, "score_pool_3": 256, "upscore1": 2, "upscore2": 2, "upscore3": 8},
}


def specified(network: str, n_class: int, padding: int) -> list[Layer]:
    """Return the layers of a network; arguments and errors are those of ``segkit.layers.expected_layers``."""
    layers = []
    widths = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))
    for block, (inputs, width, depth) in enumerate(widths, start=1):
        for index in range(1, depth + 1):
            first = block == index == 1
            settings = _convolution(inputs if index == 1 else width, width, 3, padding if first else 1)
            layers.append(Layer(f"conv{block}_{index}", "Conv2d", settings))
        pool = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil_mode": True}
        layers.append(Layer(f"pool{block}", "MaxPool2d", pool))
    layers.append(Layer("fc6", "Conv2d", _convolution(512, 4096, 7)))
    layers.append(Layer("fc7", "Conv2d", _convolution(4096, 4096, 1)))
    layers.append(Layer("score", "Conv2d", _convolution(4096, n_class, 1)))
    for name, number in TAILS[network].items():
        if name.startswith("score"):
            layers.append(Layer(name, "Conv2d", _convolution(number, n_class, 1)))
        else:
            layers.append(Layer(name, "ConvTranspose2d", _transposed(n_class, number)))
    return layers
