"""FCN-32s, FCN-16s and FCN-8s over one VGG-16 trunk.

References:
    Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, sections 4.1 and 4.2.
    https://doi.org/10.1109/CVPR.2015.7298965
    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, configuration D.
"""

from torch import Tensor, nn

from segkit.upsampling import CropGeometry, bilinear_weight

__all__ = ["VGG16_BLOCKS", "FCN8s", "FCN16s", "FCN32s", "VGGTrunk"]

VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels of the five blocks of VGG-16."""


def _crop(x: Tensor, offset: int, size: tuple[int, ...]) -> Tensor:
    """Cut the window of ``size`` that begins ``offset`` rows and columns into ``x`` (N, C, H, W)."""
    return x[:, :, offset : offset + size[0], offset : offset + size[1]]


class VGGTrunk(nn.Module):
    """VGG-16 as a fully convolutional network, up to the score layer: what all three FCNs share, by inheritance.

    Args:
        n_class: Number of classes.
        padding: Padding of ``conv1_1``, at least 97. It makes every input size work; the crops follow from it.
    """

    def __init__(self, n_class: int = 12, padding: int = 100) -> None:
        super().__init__()
        self.n_class = n_class
        self.geometry = CropGeometry(padding)
        channels = 3
        for block, (depth, width) in enumerate(VGG16_BLOCKS, start=1):
            for index in range(1, depth + 1):
                first = block == 1 and index == 1
                convolution = nn.Conv2d(channels, width, 3, padding=padding if first else 1)
                self.add_module(f"conv{block}_{index}", convolution)
                self.add_module(f"relu{block}_{index}", nn.ReLU())
                channels = width
            self.add_module(f"pool{block}", nn.MaxPool2d(2, stride=2, ceil_mode=True))
        self.fc6, self.relu6, self.drop6 = nn.Conv2d(512, 4096, 7), nn.ReLU(), nn.Dropout2d(0.5)
        self.fc7, self.relu7, self.drop7 = nn.Conv2d(4096, 4096, 1), nn.ReLU(), nn.Dropout2d(0.5)
        self.score = nn.Conv2d(4096, n_class, 1)

    def initialise(self) -> None:
        """He initialisation of the convolutions, zero score layers, bilinear upsampling. Called at the end of construction.

        Zero belongs to the score layers alone: the first output is then exactly 0 and the first loss ln(n_class), while
        the trunk stays able to learn.
        """
        for name, layer in self.named_children():
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data.copy_(bilinear_weight(self.n_class, layer.kernel_size[0]))
            elif isinstance(layer, nn.Conv2d):
                if name.startswith("score"):
                    nn.init.zeros_(layer.weight)
                else:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def trunk(self, x: Tensor) -> dict[str, Tensor]:
        """Run the trunk and the head.

        Args:
            x: Images ``(N, 3, H, W)``, float, normalised with the ImageNet statistics.

        Returns:
            ``pool3`` (N, 256, ~H/8, ~W/8), ``pool4`` (N, 512, ~H/16, ~W/16) and ``score`` (N, n_class, ~H/32, ~W/32),
            each larger than the image's share by the padding.
        """
        maps = {}
        for block, (depth, _) in enumerate(VGG16_BLOCKS, start=1):
            for index in range(1, depth + 1):
                x = getattr(self, f"relu{block}_{index}")(getattr(self, f"conv{block}_{index}")(x))
            x = maps[f"pool{block}"] = getattr(self, f"pool{block}")(x)
        x = self.drop6(self.relu6(self.fc6(x)))
        x = self.drop7(self.relu7(self.fc7(x)))
        return {"pool3": maps["pool3"], "pool4": maps["pool4"], "score": self.score(x)}

    def _up(self, factor: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(self.n_class, self.n_class, 2 * factor, stride=factor, bias=False)


class FCN32s(VGGTrunk):
    """FCN-32s: one upsampling by 32 of the coarsest scores (Long et al., section 4.1)."""

    def __init__(self, n_class: int = 12, padding: int = 100) -> None:
        super().__init__(n_class, padding)
        self.transpose_conv = self._up(32)
        self.initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, n_class, H, W)."""
        return _crop(self.transpose_conv(self.trunk(x)["score"]), self.geometry.fcn32s, x.shape[2:])


class FCN16s(VGGTrunk):
    """FCN-16s: scores of pool4 are added before the upsampling by 16 (Long et al., section 4.2)."""

    def __init__(self, n_class: int = 12, padding: int = 100) -> None:
        super().__init__(n_class, padding)
        self.score_pool_4 = nn.Conv2d(512, n_class, 1)
        self.upscore1, self.upscore2 = self._up(2), self._up(16)
        self.initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, n_class, H, W)."""
        maps = self.trunk(x)
        fused = self.upscore1(maps["score"])  # (N, n_class, ~H/16, ~W/16)
        fused = fused + _crop(self.score_pool_4(maps["pool4"]), self.geometry.pool4, fused.shape[2:])
        return _crop(self.upscore2(fused), self.geometry.fcn16s, x.shape[2:])


class FCN8s(VGGTrunk):
    """FCN-8s: scores of pool4 and pool3 are added before the upsampling by 8 (Long et al., section 4.2)."""

    def __init__(self, n_class: int = 12, padding: int = 100) -> None:
        super().__init__(n_class, padding)
        self.score_pool_4, self.score_pool_3 = nn.Conv2d(512, n_class, 1), nn.Conv2d(256, n_class, 1)
        self.upscore1, self.upscore2, self.upscore3 = self._up(2), self._up(2), self._up(8)
        self.initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, n_class, H, W)."""
        maps = self.trunk(x)
        fused = self.upscore1(maps["score"])  # (N, n_class, ~H/16, ~W/16)
        fused = fused + _crop(self.score_pool_4(maps["pool4"]), self.geometry.pool4, fused.shape[2:])
        fused = self.upscore2(fused)  # (N, n_class, ~H/8, ~W/8)
        fused = fused + _crop(self.score_pool_3(maps["pool3"]), self.geometry.pool3, fused.shape[2:])
        return _crop(self.upscore3(fused), self.geometry.fcn8s, x.shape[2:])
