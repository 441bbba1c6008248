"""The tensors that methods, read-outs and rules pass to each other: many episodes at once, the classes of each a row.

In the tests every call is held to these axes. ``Features`` may be vectors or maps; all others are vectors.
"""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Float, Int64
from torch import Tensor

Support: TypeAlias = Float[Tensor, "batch way shot dim"]
Query: TypeAlias = Float[Tensor, "batch queries dim"]
Unlabeled: TypeAlias = Float[Tensor, "batch unlabeled dim"]
SupportFeatures: TypeAlias = Float[Tensor, "batch way shot *feature"]
QueryFeatures: TypeAlias = Float[Tensor, "batch queries *feature"]
UnlabeledFeatures: TypeAlias = Float[Tensor, "batch unlabeled *feature"]
Labels: TypeAlias = Int64[Tensor, "batch queries"]  # the row of the way axis that a query belongs to
Scores: TypeAlias = Float[Tensor, "batch queries way"]  # the largest is the prediction
Table: TypeAlias = Float[Tensor, "num_images dim"]  # row i embeds image i of a set
