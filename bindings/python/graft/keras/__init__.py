"""Graft Keras 3 models, on any of its backends.

`GraftingCallback` grafts during `fit`; `graft` does once what it does each epoch, for other loops;
`plan` tells what follows what. `import graft` does not import this.

Examples
--------
>>> import graft.keras
>>> model = keras.Model(x, [network_a(x), network_b(x)])
>>> model.compile("sgd", loss=[loss, loss])
>>> model.fit(images, [labels, labels],
...           callbacks=[graft.keras.GraftingCallback([network_a, network_b])])
"""

from __future__ import annotations

from ._callback import GraftingCallback
from ._graft import graft
from ._plan import Plan, plan

__all__ = ["GraftingCallback", "Plan", "graft", "plan"]
