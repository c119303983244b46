"""Where a model's weights lie while it learns: whole on one process, copied, or sharded.

``alone`` and ``ddp`` keep every weight everywhere; ``fsdp`` (FSDP2, ``fully_shard``) keeps a slice
of each on each process. Checkpoints are the same file in all three: full tensors, optimizer state
numbered by parameter, so a run may go on with another number of processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from training import checkpoints
from training.parallel import World

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
WHOLE_IN = StateDictOptions(full_state_dict=True)
State = dict[str, Tensor]


class Copied:
    """Every process holds the whole model; gradients are averaged where there are several."""

    def __init__(self, net: nn.Module, world: World) -> None:
        self.net = net
        self.call: nn.Module = DistributedDataParallel(net) if world.size > 1 else net

    def weights(self) -> State:
        """Return the model's state."""
        return dict(self.net.state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        """Return the optimizer's state by parameter number."""
        return checkpoints.flatten_optimizer(optimizer)

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Take up what `optimizer_state` returned."""
        checkpoints.restore_optimizer(optimizer, state)


class Sharded:
    """Each process holds a slice of every weight, gradient and moment."""

    def __init__(self, net: nn.Module, layers: list[nn.Module], precision: str) -> None:
        compute = torch.bfloat16 if precision == "bf16" else None
        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
        for layer in layers:
            fully_shard(layer, mp_policy=policy)
        fully_shard(net, mp_policy=policy)
        self.net = net
        self.call = self.net

    def weights(self) -> State:
        """Return the model's state, gathered on the first process."""
        state: Any = get_model_state_dict(self.net, options=WHOLE)
        return dict(state)

    def load_weights(self, state: State) -> None:
        """Scatter a whole model's state."""
        whole: dict[str, Any] = dict(state)
        set_model_state_dict(self.net, whole, options=WHOLE_IN)

    def groups(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """Return the optimizer's groups with its parameters by name."""
        by_identity = {id(p): name for name, p in self.net.named_parameters()}
        return [
            {**group, "params": [by_identity[id(p)] for p in group["params"]]}
            for group in optimizer.param_groups
        ]

    def names(self, optimizer: torch.optim.Optimizer) -> list[str]:
        """Return the parameters' names in the optimizer's order."""
        return [name for group in self.groups(optimizer) for name in group["params"]]

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        """Return the optimizer's state by parameter number, gathered on the first process."""
        found: Any = get_optimizer_state_dict(self.net, optimizer, options=WHOLE)
        state = found.get("state", {})
        numbers = {name: index for index, name in enumerate(self.names(optimizer))}
        return {
            f"{numbers[name]}.{kind}": torch.as_tensor(value)
            for name, entries in state.items()
            for kind, value in entries.items()
        }

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Scatter what `optimizer_state` returned."""
        names = self.names(optimizer)
        entries: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            number, kind = key.split(".", 1)
            entries.setdefault(names[int(number)], {})[kind] = value
        whole: Any = {"state": entries, "param_groups": self.groups(optimizer)}
        set_optimizer_state_dict(self.net, optimizer, whole, options=WHOLE_IN)


Placement = Copied | Sharded
