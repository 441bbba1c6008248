"""The twin of Koch et al. 2015."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Num
from torch import Tensor, nn

from fewshot.models.encoders.base import ENCODERS, Encoder, ImageShape


@ENCODERS.register("koch")
class Koch(Encoder):
    """The twin of Koch et al. 2015 (figure 4): four convolutions without padding, 4096 sigmoid units.

    64 kernels of 10x10, 128 of 7x7, 128 of 4x4, 256 of 4x4, each with ReLU, pooled by 2 after all but the last;
    105x105 -> 256x6x6 -> 4096. No batch norm. ``paper`` draws convolutions from N(0, 0.01), the last layer from
    N(0, 0.2) and biases from N(0.5, 0.01), as section 3.2 says. Its sigmoids then begin saturated, which Adam hardly
    overcomes: ``he`` draws for ReLU (He et al. 2015) and leaves the sigmoids near their middle.
    """

    title = "Koch's twin: four large convolutions and 4096 sigmoid units, for 105x105 (siamese; Koch 2015)"
    smallest_image = 65

    def __init__(
        self, image_shape: ImageShape, units: int = 4096, initialization: Literal["paper", "he"] = "paper"
    ) -> None:
        super().__init__(image_shape)
        channels, _, _ = image_shape
        layers: list[nn.Module] = []
        for before, after, kernel in ((channels, 64, 10), (64, 128, 7), (128, 128, 4), (128, 256, 4)):
            layers += [nn.Conv2d(before, after, kernel), nn.ReLU(), nn.MaxPool2d(2)]
        self.convolutions = nn.Sequential(*layers[:-1])  # the last is not pooled
        rows, columns = ((((side - 9) // 2 - 6) // 2 - 3) // 2 - 3 for side in image_shape[1:])
        self.code = nn.Linear(256 * rows * columns, units)
        self.feature_shape = (units,)
        for layer in (*self.convolutions, self.code):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                self._initialize(layer, initialization)

    @staticmethod
    def _initialize(layer: nn.Conv2d | nn.Linear, initialization: str) -> None:
        assert layer.bias is not None
        if initialization == "paper":
            nn.init.normal_(layer.weight, 0, 0.2 if isinstance(layer, nn.Linear) else 0.01)
            nn.init.normal_(layer.bias, 0.5, 0.01)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="sigmoid" if isinstance(layer, nn.Linear) else "relu")
            nn.init.zeros_(layer.bias)

    def forward(self, images: Num[Tensor, "n c h w"]) -> Float[Tensor, "n dim"]:
        maps: Tensor = self.convolutions(self.normalize(images))
        codes: Tensor = self.code(maps.flatten(1)).sigmoid()
        return codes
