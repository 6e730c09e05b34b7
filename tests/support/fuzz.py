"""Long fuzzing: python tests/support/fuzz.py SECONDS [PARSER ...]. With atheris where it is installed, else mutation.

Each parser has a process of its own. An input that fails is kept in outputs/fuzz/, with the traceback on screen; it is
to become a test. Exit code 1 if there was one.
"""

import importlib.util
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

FOUND = Path(__file__).parents[2] / "outputs" / "fuzz"
HANG_S = 25  # for one input of at most 200 kB
MEMORY_MB = 4096


def with_atheris(name: str, seconds: int) -> None:
    """libFuzzer, led by which lines an input reaches. Ends the process."""
    import atheris

    with atheris.instrument_imports(include=["mqg_utils", "markdown_it", "docx", "openpyxl", "yaml"]):
        from fuzzing import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        words = Path(corpus).with_suffix(".dict")
        coded = ["".join(f"\\x{byte:02x}" for byte in word[:60]) for word in target.words]
        words.write_text("".join(f'"{word}"\n' for word in coded))
        limits = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}", "-max_len=200000"]
        shown = ["-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-", f"-dict={words}"]
        atheris.Setup([sys.argv[0], *limits, *shown, corpus], target.run)
        atheris.Fuzz()


def without_atheris(name: str, seconds: int) -> int:
    """Mutations of known inputs."""
    from fuzzing import TARGETS, mutated

    target, end, runs = TARGETS[name], time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(target, random.Random(random.getrandbits(64)))
        runs += 1
        try:
            target.run(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            traceback.print_exc()
            (FOUND / f"{name}-{runs}").write_bytes(data)
            return 1
    print(f"Done {runs} runs")
    return 0


def main(seconds: int, names: list[str]) -> int:
    from fuzzing import TARGETS

    FOUND.mkdir(parents=True, exist_ok=True)
    has_atheris = importlib.util.find_spec("atheris") is not None
    print("atheris" if has_atheris else "atheris is not installed: plain mutation instead", flush=True)
    failed = []
    for name in names or TARGETS:
        asked = [sys.executable, "-W", "ignore", __file__, "--one", name, str(seconds)]
        try:  # a hang in a library written in C is noticed from outside only
            done = subprocess.run(asked, capture_output=True, text=True, timeout=3 * seconds + 20 * HANG_S)
            said, code = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as error:
            said, code = f"no end: {error}", 1
        runs = [line for line in said.split("\n") if line.startswith(("Done", "stat::number_of_executed"))]
        print(f"{name}: {'; '.join(runs)}{' FAILED' * bool(code)}", flush=True)
        if code:
            failed.append(name)
            print("\n".join(said.split("\n")[-40:]), flush=True)
    return bool(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        run = with_atheris if importlib.util.find_spec("atheris") else without_atheris
        sys.exit(run(sys.argv[2], int(sys.argv[3])))
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 60, sys.argv[2:]))
