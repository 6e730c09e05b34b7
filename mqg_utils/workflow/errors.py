"""What ends a stage from outside: the cause in plain words, and the next step."""

import re
from pathlib import Path
from typing import NamedTuple

GOES_ON = "Complete stages are kept; the same command goes on from here."
LESS_MEMORY = (
    "give it less to hold: a smaller row_tokens, activation_checkpointing=true, lora_rank=16, or a smaller model"
)


class _Fault(NamedTuple):
    signs: str  # in the words of the system, of Python, of torch, or of safetensors' Rust
    cause: str
    advice: str


_FAULTS = (
    _Fault(
        r"No space left on device|Disk quota exceeded|File too large|StorageFull|\[Errno (28|122|27)\]",
        "the disk that holds {folder} is full",
        "free some space there (`mqg runs` lists the runs)",
    ),
    _Fault(
        r"Read-only file system|Permission denied|Operation not permitted|\[Errno (30|13|1)\]",
        "{folder} cannot be written to",
        "make it writable, or work in a folder that is",
    ),
    _Fault(
        r"MemoryError|can't allocate memory|not enough memory|out of memory|Cannot allocate memory|bad_alloc",
        "memory ran out",
        LESS_MEMORY,
    ),
    _Fault(
        r"[Kk]ernel died|DeadKernel|Kernel didn't respond",
        "the kernel, the process that runs the notebook, was ended from outside, by the system for want of memory "
        "more often than not",
        f"see who ended it (`dmesg | tail`); was it memory, {LESS_MEMORY}",
    ),
    _Fault(
        r"Input/output error|Stale file handle|\[Errno (5|116)\]",
        "the disk or network folder that holds {folder} fails",
        "look after the disk, or work in another folder",
    ),
)


def remedy(said: str, folder: Path) -> str:
    """Two lines, `cause:` and `next:`, for an error's own words; the second alone where the words say the cause.

    Where they say the next step too, what is left to say is what becomes of the run.
    """
    for fault in _FAULTS:
        if re.search(fault.signs, said):
            return f"cause: {fault.cause.format(folder=folder)}\nnext: {fault.advice}. {GOES_ON}"
    return GOES_ON if "\nnext: " in said else f"next: put right what the message names. {GOES_ON}"
