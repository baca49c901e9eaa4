"""Principal directions, scaled for a model: the closed-form part that both nano codecs share.

A component with standard deviation s is divided by s^0.5 ("half-whitening"): strong components stay stronger than weak
ones, so the model's loss still follows what is seen and heard, but not so much that the weak ones drown. One scale for
all then brings the mean variance to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mova_core.errors import UserError

# Components weaker than this share of the strongest are not amplified: they hold rounding noise.
WEAKEST_SIGMA_SHARE = 1e-4


class Moments:
    """Running first and second moments of rows, in float64."""

    def __init__(self, num_dimensions: int) -> None:
        self.weight = 0.0
        self.first = np.zeros(num_dimensions)
        self.second = np.zeros((num_dimensions, num_dimensions))

    def add(self, rows: Tensor, weight: float = 1.0) -> None:
        """Adds rows [n, D] (float32), each counted `weight` times. The product runs in float32, the sum in float64."""
        self.weight += weight * len(rows)
        self.first += weight * rows.double().sum(0).numpy()
        self.second += weight * (rows.T @ rows).double().numpy()

    def mean(self) -> npt.NDArray[np.float64]:
        return self.first / self.weight

    def covariance(self, about: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Mean outer product of (row - about)."""
        cross = np.outer(about, self.mean())
        covariance: npt.NDArray[np.float64] = self.second / self.weight - cross - cross.T + np.outer(about, about)
        return covariance


class LinearCode(nn.Module):
    """An affine map to K half-whitened principal components, and its inverse on their span.

    Buffers: ``mean`` [D], ``analysis`` [D, K], ``synthesis`` [K, D], float32.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, num_dimensions: int, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_dimensions))
        self.register_buffer("analysis", torch.zeros(num_dimensions, num_channels))
        self.register_buffer("synthesis", torch.zeros(num_channels, num_dimensions))

    @staticmethod
    def fit(moments: Moments, num_channels: int, *, centred: bool, what: str) -> LinearCode:
        """The code of the `num_channels` strongest directions.

        centred : whether the mean is taken off first. Without it the zero row has the zero code.
        what : names the data in errors.

        Raises
        ------
        UserError : if the rows hold no variation at all.
        """
        mean = moments.mean() if centred else np.zeros_like(moments.first)
        variances, directions = np.linalg.eigh(moments.covariance(mean))
        variances = np.maximum(variances[::-1][:num_channels], 0.0)
        directions = directions[:, ::-1][:, :num_channels]
        sigmas = np.sqrt(variances)
        if sigmas[0] < 1e-6:
            raise UserError(
                f"the {what} of the training clips never changes",
                expected="training clips with something to see and hear",
                remedy="look at the clips under data/clips and curate again",
            )
        # An eigenvector's sign is arbitrary; its largest entry is made positive so that a fit has one outcome.
        strongest = np.abs(directions).argmax(axis=0)
        directions = directions * np.sign(directions[strongest, np.arange(directions.shape[1])])
        sigmas = np.maximum(sigmas, WEAKEST_SIGMA_SHARE * sigmas[0])
        scales = np.sqrt(sigmas * (variances / sigmas).mean())
        code = LinearCode(len(moments.first), num_channels)
        code.mean.copy_(torch.from_numpy(mean))
        code.analysis.copy_(torch.from_numpy(directions / scales))
        code.synthesis.copy_(torch.from_numpy((directions * scales).T))
        return code

    def encode(self, rows: Tensor) -> Tensor:
        """[..., D] -> [..., K]."""
        # The mean is taken off the few codes: off the many entries of the rows it would cost more than the product.
        return rows @ self.analysis - self.mean @ self.analysis

    def decode(self, codes: Tensor) -> Tensor:
        """[..., K] -> [..., D]."""
        return codes @ self.synthesis + self.mean
