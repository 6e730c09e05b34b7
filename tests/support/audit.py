"""Known vulnerabilities of the packages installed here: pip-audit, and a plain word where it cannot know.

Exit code 0: none known. 1: some are, listed. 2: no package could be looked up, so nothing is known.
"""

import json
import subprocess
import sys
from typing import Any


def verdict(dependencies: list[dict[str, Any]]) -> tuple[int, str]:
    """Exit code and words for what pip-audit found of each package."""
    asked = [d for d in dependencies if "skip_reason" not in d]
    found = [(d["name"], d["version"], v["id"], ", ".join(v["fix_versions"])) for d in asked for v in d["vulns"]]
    lines = [f"{name} {version}: {fault}; fixed in {fixed or 'no version'}" for name, version, fault, fixed in found]
    counted = f"{len(asked)} of {len(dependencies)} packages looked up, {len(found)} known vulnerabilities"
    if not asked:
        return 2, f"NOT AUDITED: {counted}. The service that knows them is not reached from here; run it where it is."
    return bool(found), "\n".join([*lines, counted])


def main() -> int:
    asked = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=900)
    try:
        code, words = verdict(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):  # it could not even ask
        code, words = verdict([])
        words = f"{done.stderr.strip().split(chr(10))[-1][:300]}\n{words}"
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
