"""Graft pytrees of JAX (Flax, Equinox, Haiku, or your own): arrays in, new arrays out.

`graft` returns new pytrees; `plan` reads what follows what off a function that runs the network.
`import graft` does not import this.

Examples
--------
>>> import graft.jax
>>> plan = graft.jax.plan(model.apply, variables[0], images[:1])
>>> for epoch in range(epochs):
...     variables = [train_one_epoch(one) for one in variables]
...     variables, report = graft.jax.graft(variables, plan)
"""

from __future__ import annotations

from ._graft import graft
from ._plan import Plan, plan

__all__ = ["Plan", "graft", "plan"]
