"""The PatchGAN that the tokenizer is trained against (arXiv 1611.07004, 70 x 70 patches)."""

from __future__ import annotations

from torch import Tensor, nn


def init_normal(module: nn.Module) -> None:
    """Draw convolutions from N(0, 0.02), as the reference does."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)


class PatchDiscriminator(nn.Module):
    """Three stride-2 levels of 4 x 4 convolutions to one logit a patch."""

    def __init__(self, in_channels: int = 1, channels: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        width = channels
        for index in range(1, num_layers + 1):
            width_out = channels * min(2**index, 8)
            stride = 2 if index < num_layers else 1
            layers += [
                nn.Conv2d(width, width_out, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width_out),
                nn.LeakyReLU(0.2),
            ]
            width = width_out
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.main = nn.Sequential(*layers).apply(init_normal)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, 256, 256] -> patch logits [B, 1, 30, 30]."""
        return self.main(x)
