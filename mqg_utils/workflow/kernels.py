"""Kernels forked from one process, which imports the libraries of the stages (6 s of CPU) and does nothing else."""

import multiprocessing
import os
import sys
import threading
from importlib.metadata import EntryPoint
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from typing import Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

NAME = "mqg-fork"
LIBRARIES = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama",
    "transformers.trainer", "peft", "pandas", "sklearn.linear_model", "scipy.stats", "statsmodels.api", "bs4",
    "plotly.graph_objects", "ipykernel.kernelapp", "ipywidgets", "mqg_utils.workflow.kernels",
)  # fmt: skip


def warm_up() -> None:
    """Start the process that kernels are forked from, and have papermill fork them. Linux only: elsewhere a no-op."""
    if sys.platform == "linux" and not multiprocessing.current_process().daemon:
        multiprocessing.set_forkserver_preload(list(LIBRARIES))
        # tqdm's semaphore lives as long as that process, and is no leak
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
        forkserver.ensure_running()
        factory = KernelProvisionerFactory.instance()
        factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:ForkedKernel", "jupyter_client.kernel_provisioners")
        factory.default_provisioner_name = NAME


class ForkedKernel(LocalProvisioner):
    """Starts a kernel by a fork, not by its command."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        process: Any = _Process(target=_kernel, args=(cmd[cmd.index("-f") :], kwargs.get("cwd") or ".", kwargs["env"]))
        process.start()
        self.process, self.pid, self.pgid = process, process.pid, process.pid
        return self.connection_info


class _Process(ForkServerProcess):
    """A process with the methods of Popen that jupyter_client calls."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid or 0, number)


def _kernel(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    import numpy as np
    import torch
    from ipykernel.kernelapp import IPKernelApp

    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.seed()  # as new processes have different random numbers, unless a stage sets its seed
    np.random.seed()
    IPKernelApp.launch_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


def _end_with(parent: Any) -> None:
    connection.wait([parent.sentinel])
    os._exit(1)
