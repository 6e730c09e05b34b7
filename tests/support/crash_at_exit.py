"""One process of a job that crashes after its work: FOLDER."""

import os
import signal
import sys

from mqg_utils.training import launch

if __name__ == "__main__":
    launch.work(sys.argv[1])
    if os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGSEGV)
