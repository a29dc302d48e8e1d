"""EfficientNet-Lite0 without its classifier. Its vector is the 1280 pooled features.

The architecture is EfficientNet-B0 (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) as reduced by TensorFlow's
EfficientNet-Lite: ReLU6 instead of swish, no squeeze-and-excitation. The weights were trained in TensorFlow, so
convolutions use its "same" padding: an odd pixel goes to the right and the bottom.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES = 1280
STEM_CHANNELS = 32
BATCH_NORM_EPSILON = 1e-3
CLASSIFIER = "_fc."


@dataclass(frozen=True)
class Stage:
    """Equal blocks in a row. stride: of the first block. expansion: of the channels inside a block."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias and with TensorFlow's "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, ceil(h / stride), ceil(w / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows = _padding(x.shape[2], kernel, stride)
        columns = _padding(x.shape[3], kernel, stride)
        if rows or columns:
            x = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return functional.conv2d(x, self.weight, None, self.stride, 0, 1, self.groups)


def _padding(size: int, kernel: int, stride: int) -> int:
    return int(max((-(-size // stride) - 1) * stride + kernel - size, 0))


class MobileBlock(nn.Module):
    """An inverted residual block: expand, convolve depthwise, project."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expands = stage.expansion != 1
        self.adds = stride == 1 and inputs == stage.channels
        if self.expands:
            self.expand_conv = SameConv(inputs, inner, 1)
            self.bn0 = nn.BatchNorm2d(inner, BATCH_NORM_EPSILON)
        self.depthwise_conv = SameConv(inner, inner, stage.kernel, stride, groups=inner)
        self.bn1 = nn.BatchNorm2d(inner, BATCH_NORM_EPSILON)
        self.project_conv = SameConv(inner, stage.channels, 1)
        self.bn2 = nn.BatchNorm2d(stage.channels, BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, stage.channels, ceil(h / stride), ceil(w / stride)]."""
        inner = functional.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = functional.relu6(self.bn1(self.depthwise_conv(inner)))
        projected: Tensor = self.bn2(self.project_conv(inner))
        return projected + x if self.adds else projected


class EfficientNetLite0(nn.Module):
    """Maps normalised images [n, 3, 224, 224] to features [n, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self.bn0 = nn.BatchNorm2d(STEM_CHANNELS, BATCH_NORM_EPSILON)
        blocks, channels = [], STEM_CHANNELS
        for stage in STAGES:
            for index in range(stage.repeats):
                blocks.append(MobileBlock(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = SameConv(channels, FEATURES, 1)
        self.bn1 = nn.BatchNorm2d(FEATURES, BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return the global average of the last feature map."""
        x = functional.relu6(self.bn0(self.conv_stem(x)))
        x = functional.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return x.mean(dim=(2, 3))


def load_efficientnet_lite0(weights: Mapping[str, Tensor]) -> EfficientNetLite0:
    """Return the model with the published weights, whose names have leading underscores.

    Raises RuntimeError if a weight is missing.
    """
    model = EfficientNetLite0()
    named = {
        ".".join(part.removeprefix("_") for part in name.split(".")): value
        for name, value in weights.items()
        if not name.startswith(CLASSIFIER)
    }
    model.load_state_dict(named, strict=True)
    return model.eval()


def read_weights(path: str) -> Mapping[str, Tensor]:
    """Read a state dict from a file without running code from it."""
    weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
