"""The encoders of the recipes, small enough for one core: convolutions, or patches."""

from data import Data
from torch import Tensor, nn

from ssltok.nn import DINOHead, PatchEmbed1d, ResNet1d, Transformer, ViT1d, mean_pool

DIM = 64  # features of both


class ConvEncoder(nn.Module):
    """A residual network; the features of a series are the mean of its tokens."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        stride = 2 if data.length >= 64 else 1
        self.tokens = ResNet1d(
            data.channels, widths=(32, DIM), blocks=(1, 1), strides=(stride, 2), stem_stride=stride
        )

    def forward(self, series: Tensor) -> Tensor:
        """Map `(batch, channels, length)` to `(batch, 64)`."""
        return mean_pool(self.tokens(series), channel_dim=1)


class Coder(nn.Module):
    """Map a series to a code: all of its tokens through one layer, so that places are kept.

    The features that are measured are the mean of the tokens: they alone lose where things are.
    """

    def __init__(self, encoder: ConvEncoder, data: Data) -> None:
        super().__init__()
        self.encoder = encoder
        self.last = nn.Linear(DIM * encoder.tokens.tokens(data.length), DIM)

    def forward(self, series: Tensor) -> Tensor:
        """Map `(batch, channels, length)` to `(batch, 64)`."""
        return self.last(self.encoder.tokens(series).flatten(1))


class PatchEncoder(nn.Module):
    """A vision transformer over 12 to 17 patches; the features are the mean of their vectors."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.patch = max(2, data.length // 16)
        embedding = PatchEmbed1d(data.channels, DIM, patch=self.patch)
        self.count, self.values = embedding.tokens(data.length), data.channels * self.patch
        trunk = Transformer(DIM, depth=2, heads=4)
        self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)

    def forward(self, series: Tensor) -> Tensor:
        """Map `(batch, channels, length)` to `(batch, 64)`."""
        return mean_tokens(self.vit(series))


class TwoTokenEncoder(nn.Module):
    """DeiT's two tokens, for the class and for a teacher's verdict; the features are their mean."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        embedding = PatchEmbed1d(data.channels, DIM, patch=max(2, data.length // 16))
        self.vit = ViT1d(embedding, Transformer(DIM, depth=2, heads=4), distillation_token=True)

    def forward(self, series: Tensor) -> Tensor:
        """Map `(batch, channels, length)` to `(batch, 64)`."""
        return self.vit(series)[:, :2].mean(1)


class Scorer(nn.Module):
    """A patch encoder with two heads, one for the series and one for its patches."""

    def __init__(self, encoder: PatchEncoder, prototypes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(
            DINOHead(DIM, out_dim=prototypes, hidden_dim=128, bottleneck_dim=32) for _ in range(2)
        )

    def forward(self, series: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the patches' features, the scores of the series, and those of the patches."""
        found = self.encoder.vit(series, masked=mask)
        return found, self.heads[0](mean_tokens(found)), self.heads[1](found)


def mean_tokens(tokens: Tensor) -> Tensor:
    """Average `(batch, tokens, dim)` over the tokens."""
    return mean_pool(tokens, channel_dim=-1)
