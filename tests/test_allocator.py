import subprocess
import sys

from mvlm_plugin.allocator import keep_freed_memory

# Frees 256 MiB in pieces, and says how much of them the process still holds.
SCRIPT = """
import sys
from mvlm_plugin.allocator import keep_freed_memory
import resource
def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
if sys.argv[1] == "keep":
    assert keep_freed_memory({})
before = held()
blocks = [bytearray(b"x") * (1 << 24) for _ in range(16)]
del blocks
print(held() - before)
"""


def held_after_freeing(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_kept() -> None:
    assert held_after_freeing("keep") > 200
    assert held_after_freeing("leave") < 50


def test_variables_of_the_user_decide() -> None:
    assert not keep_freed_memory({"MALLOC_TRIM_THRESHOLD_": "1"})
