"""A transformer over the voxels of a coarse grid, with learned positions for any grid."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gliodistill.networks.base import check_option


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): softmax(q kᵀ/√d) v per head, heads joined,
    projected.

    Queries, keys and values have no bias, the projection has one: as in ViT and TransBTS.

    Args:
        embedding: numbers per token.
        heads: they share the embedding, so their number must divide it.
        dropout: share of attention weights and of outputs set to 0 in training.
    """

    def __init__(self, embedding: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(embedding, 3 * embedding, bias=False)
        self.project = nn.Sequential(nn.Linear(embedding, embedding), nn.Dropout(dropout))

    def forward(self, tokens: Float[Tensor, "B N E"]) -> Float[Tensor, "B N E"]:
        """Each token as a mix of all tokens of its sample."""
        heads = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            heads[0], heads[1], heads[2], dropout_p=self.dropout if self.training else 0.0
        )
        projected: Tensor = self.project(mixed.transpose(1, 2).flatten(2))
        return projected


class TransformerLayer(nn.Module):
    """Pre-norm layer: t ← t + attention(LN t), then t ← t + W₂ GELU(W₁ LN t)."""

    def __init__(self, embedding: int, *, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.LayerNorm(embedding), SelfAttention(embedding, heads, dropout), nn.Dropout(dropout)
        )
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(embedding),
            nn.Linear(embedding, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, embedding),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Float[Tensor, "B N E"]) -> Float[Tensor, "B N E"]:
        """The tokens after the layer."""
        tokens = tokens + self.attention(tokens)
        exchanged: Tensor = tokens + self.feed_forward(tokens)
        return exchanged


class VolumetricTransformer(nn.Module):
    """A transformer with every voxel of a grid as a token; channels are last.

    One learned vector per voxel of a reference grid is added first (zeros at the start, as in
    TransBTS's code). On another grid the vectors are interpolated trilinearly, as ViT does in 2-D
    (Dosovitskiy et al. 2021), so a network trained on patches runs on whole brains. That is ours:
    TransBTS takes one grid only.

    Args:
        embedding: numbers per token.
        layers: number of layers.
        heads: of each attention.
        hidden: width of each feed-forward's inner layer.
        grid: side of the reference grid in tokens; where the tokens' grid has it, nothing is
            interpolated.
        dropout: as in :class:`SelfAttention`, and on both branches of each layer.

    Raises:
        RecipeError: an option out of range, e.g. heads that do not divide the embedding.
    """

    def __init__(
        self,
        embedding: int,
        *,
        layers: int,
        heads: int,
        hidden: int,
        grid: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_option("embedding", embedding, embedding >= 1, "at least 1")
        check_option("layers", layers, layers >= 1, "at least 1")
        check_option(
            "heads",
            heads,
            heads >= 1 and embedding % heads == 0,
            f"a divisor of the embedding, {embedding}",
        )
        check_option("hidden", hidden, hidden >= 1, "at least 1")
        check_option("dropout", dropout, 0 <= dropout < 1, "0 or more, below 1")
        self.positions = nn.Parameter(torch.zeros(1, embedding, grid, grid, grid))
        self.layers = nn.Sequential(
            *(
                TransformerLayer(embedding, heads=heads, hidden=hidden, dropout=dropout)
                for _ in range(layers)
            )
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "B X Y Z E"]) -> Float[Tensor, "B X Y Z E"]:
        """The tokens after all layers, on their grid."""
        # In tracing, the size must come from the tensor: a Python condition would fix one grid in
        # an exported graph.
        positions = functional.interpolate(self.positions, size=tokens.shape[1:4], mode="trilinear")
        placed = self.dropout(tokens + positions.permute(0, 2, 3, 4, 1))
        mixed: Tensor = self.layers(placed.flatten(1, 3))
        return mixed.reshape(tokens.shape)
