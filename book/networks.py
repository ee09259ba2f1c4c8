"""The structures of networks that others trained, for `python -m rnc survey --network`.

Weights are not ours to give; book/guide.md says where they are and how the records were made.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3 x 3 convolutions; where the shape changes the shortcut takes every second pixel and
    pads channels with zeros (option A of He et al. 2016)."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.stride = 1 if channels_in == channels else 2
        self.padding = (channels - channels_in) // 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(out + F.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding)))


class CifarResNet(nn.Module):
    """ResNet of 6 n + 2 layers for CIFAR-10 (He et al. 2016), as akamaster/pytorch_resnet_cifar10
    names its parts; it wants normalised images."""

    def __init__(self, n: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for stage, (channels_in, channels) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            first, rest = Block(channels_in, channels), range(n - 1)
            blocks = nn.Sequential(first, *(Block(channels, channels) for _ in rest))
            self.add_module(f"layer{stage}", blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class LeNet5(nn.Module):
    """Two convolutions and two linear layers for 28 x 28 grey images, as BorealisAI/advertorch
    trains it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.linear1 = nn.Linear(64 * 7 * 7, 200)
        self.linear2 = nn.Linear(200, 10)

    def forward(self, x):
        for convolution in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        return self.linear2(F.relu(self.linear1(torch.flatten(x, 1))))
