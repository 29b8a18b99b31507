"""One process for each device: who starts them, how many there are, and ending them together.

``torchrun`` and SLURM start the processes themselves, and say in the environment which is which. Where neither does,
``launch`` starts those of this machine, with the same variables.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

import torch

from progeo.console import format_count
from progeo.devices import choose_device
from progeo.errors import ProgeoError
from progeo.training.interrupt import handle_signals
from progeo.training.settings import TrainSettings

SECONDS_TO_END = 30.0
"""How long processes have to end by themselves, once one has failed."""
ADDRESS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


def find_launched() -> tuple[int, int] | None:
    """Return how many processes there are on this machine, and on how many machines, as who started them says.

    None where nobody did: this is the only process.
    """
    names = os.environ
    if "LOCAL_WORLD_SIZE" in names:
        here = int(names["LOCAL_WORLD_SIZE"])
        return here, int(names["WORLD_SIZE"]) // here
    if "SLURM_STEP_NUM_TASKS" in names:
        nodes = int(names["SLURM_STEP_NUM_NODES"])
        return int(names["SLURM_STEP_NUM_TASKS"]) // nodes, nodes
    return None


def check_devices(settings: TrainSettings) -> tuple[int, int]:
    """Return how many processes train on each machine, one a device, and on how many machines.

    Raises:
        ProgeoError: there are not so many devices here, or a batch cannot be shared out among all.
    """
    launched = find_launched()
    here, nodes = launched or (settings.devices, settings.num_nodes)
    ranks = here * nodes
    kind = choose_device(settings.device).type
    there = {"cuda": torch.cuda.device_count(), "cpu": os.cpu_count() or 1}.get(kind, 1)
    # Who starts more processes than there are processors means it, as to try something out.
    if here > there and not (launched and kind == "cpu"):
        what = {"cuda": "GPU", "cpu": "processor"}.get(kind, "device")
        raise ProgeoError(
            f"`devices` {here}: this machine has {format_count(there, what)}. Use `devices` {there} or fewer."
        )
    size = settings.batch_size
    if size % ranks and not settings.local_steps:
        fitting = " or ".join(str(fit) for fit in (size // ranks * ranks, (size // ranks + 1) * ranks) if fit)
        raise ProgeoError(
            f"`batch_size` {size} is that of all devices together, and cannot be shared out evenly among {ranks}: use "
            f"{fitting}."
        )
    return here, nodes


def launch(command: Sequence[str], devices: int, nodes: int) -> int:
    """Run a command once for each device of this machine, and return its exit code.

    Signals go to all processes. Once one has failed the others get some time to end, and are killed then.

    Raises:
        ProgeoError: nobody says where the other machines are, or processes were killed and none could say so.
    """
    node, host, port = 0, "127.0.0.1", 0
    if nodes > 1:
        if missing := [name for name in ADDRESS if name not in os.environ]:
            raise ProgeoError(
                f"`num_nodes` {nodes}: start the same command on each machine, with {', '.join(missing)} in its "
                "environment. MASTER_ADDR and MASTER_PORT are the address and a free port of the first one, NODE_RANK "
                f"is 0 to {nodes - 1}."
            )
        node, host, port = int(os.environ["NODE_RANK"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # Here, so that it outlives each of the processes.
    store = torch.distributed.TCPStore(host, port, is_master=True, wait_for_workers=False) if node == 0 else None
    variables = {
        **{"MASTER_ADDR": host, "MASTER_PORT": str(store.port if store else port), "GROUP_RANK": str(node)},
        **{"WORLD_SIZE": str(devices * nodes), "LOCAL_WORLD_SIZE": str(devices)},
        # As torchrun sets them: the store is there already.
        **{"TORCHELASTIC_RUN_ID": "progeo", "TORCHELASTIC_USE_AGENT_STORE": "True"},
        **{"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0"},
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),  # warnings of each process
    }
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    with handle_signals(forward, signal.SIGINT, signal.SIGTERM):
        for local in range(devices):
            own = {"RANK": str(node * devices + local), "LOCAL_RANK": str(local)}
            # In sessions of their own, so that Ctrl-C reaches them once, from here.
            environment = os.environ | variables | own
            processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
        codes = _wait(processes)
    failed = [code for code in codes if code]
    if failed and all(code < 0 for code in failed):
        names = ", ".join(f"process {rank} by {signal.Signals(-code).name}" for rank, code in enumerate(codes) if code)
        raise ProgeoError(f"Of the {devices} processes that trained together, these were killed: {names}")
    return max(codes)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Wait until all processes have ended; return their exit codes."""
    deadline = float("inf")
    while any(process.poll() is None for process in processes):
        if deadline == float("inf") and any(process.returncode for process in processes):
            deadline = time.monotonic() + SECONDS_TO_END
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return [process.returncode for process in processes]
