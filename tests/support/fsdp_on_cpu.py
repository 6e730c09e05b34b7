"""One process of a job under FSDP on the CPU, which accelerate keeps for accelerators: FOLDER.

Everything is the real part but for accelerate's word on which devices may shard.
"""

import sys

import torch
from accelerate import state
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from mqg_utils.training import launch

own = state.AcceleratorState.__init__


def sharded(self, *args, fsdp_plugin=None, **options):
    own(self, *args, fsdp_plugin=fsdp_plugin, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin or FullyShardedDataParallelPlugin()


if __name__ == "__main__":
    torch.set_num_threads(1)
    state.AcceleratorState.__init__ = sharded
    launch.work(sys.argv[1])
