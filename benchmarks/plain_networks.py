"""ResNet-18, VGG-16 and GoogLeNet as one writes them in torch alone: what the library's are compared with.

Written from the papers' tables with `torch.nn` and nothing of `grid_cnn`; weights are carried across in order, since
both hold the same convolutions, norms and dense layers one after the other. GoogLeNet is torchvision's, without heads.
References: He et al. (2016), table 1; Simonyan and Zisserman (2015), table 1, D; Szegedy et al. (2015), table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CLASSES = 1000


class Block(nn.Module):
    """Two 3×3 convolutions and a sum.

    >>> Block(4, 8, 2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet18() -> nn.Module:
    """ResNet-18.

    >>> sum(parameter.numel() for parameter in resnet18().parameters())
    11689512
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, width, stride), Block(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, _CLASSES))


def vgg16() -> nn.Module:
    """VGG D.

    >>> with torch.device("meta"):
    ...     sum(parameter.numel() for parameter in vgg16().parameters())
    138357544
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    dense: list[nn.Module] = [nn.Flatten()]
    for wide in (512 * 49, 4096):
        dense += [nn.Linear(wide, 4096), nn.ReLU(inplace=True), nn.Dropout(0.0)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), *dense, nn.Linear(4096, _CLASSES))


def _unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels, eps=0.001), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Four branches side by side.

    >>> Inception(192, 64, 96, 128, 16, 32, 32)(torch.zeros(1, 192, 7, 7)).shape
    torch.Size([1, 256, 7, 7])
    """

    def __init__(self, channels: int, point: int, reduce3: int, conv3: int, reduce5: int, conv5: int, pool: int):
        super().__init__()
        self.branch1 = _unit(channels, point, 1)
        self.branch2 = nn.Sequential(_unit(channels, reduce3, 1), _unit(reduce3, conv3, 3))
        self.branch3 = nn.Sequential(_unit(channels, reduce5, 1), _unit(reduce5, conv5, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), _unit(channels, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def googlenet() -> nn.Module:
    """GoogLeNet with batch normalisation and 3×3 in place of 5×5.

    >>> sum(parameter.numel() for parameter in googlenet().parameters())
    6624904
    """
    return nn.Sequential(
        _unit(3, 64, 7, 2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        _unit(64, 64, 1),
        _unit(64, 192, 3),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(192, 64, 96, 128, 16, 32, 32),
        Inception(256, 128, 128, 192, 32, 96, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(480, 192, 96, 208, 16, 48, 64),
        Inception(512, 160, 112, 224, 24, 64, 64),
        Inception(512, 128, 128, 256, 24, 64, 64),
        Inception(512, 112, 144, 288, 32, 64, 64),
        Inception(528, 256, 160, 320, 32, 128, 128),
        nn.MaxPool2d(2, 2, ceil_mode=True),
        Inception(832, 256, 160, 320, 32, 128, 128),
        Inception(832, 384, 192, 384, 48, 128, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(1024, _CLASSES),
    )


NETS = {"resnet18": resnet18, "vgg16": vgg16, "googlenet": googlenet}
