"""What a figure depends on besides the programs: the machine, told in a line or two; and what processes take of it."""

import os
import platform
import re
import resource
import threading
import time
from pathlib import Path

# Data there is in memory, whatever is synced.
_IN_MEMORY = {"tmpfs", "ramfs", "hugetlbfs"}


def file_system(folder):
    """Its type, by the longest mount point that holds the folder."""
    path, best, kind = str(Path(folder).resolve()), "", "?"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, at, this, *_ = line.split(" ")
        at = at.replace("\\040", " ")
        if (path == at or path.startswith(at.rstrip("/") + "/")) and len(at) >= len(best):
            best, kind = at, this
    return kind


def on_a_disk(folder):
    """Raises if what is synced there is not."""
    kind = file_system(folder)
    if kind in _IN_MEMORY:
        raise SystemExit(f"versus: {folder} is on {kind}, which is no disk; give another one with --data")


def room_for(partitions):
    """Raises if a broker may not hold so many: Kafka maps two indices of each into memory, Zweig keeps three files open."""
    maps = int(Path("/proc/sys/vm/max_map_count").read_text())
    if maps < 3 * partitions:
        raise RuntimeError(f"vm.max_map_count is {maps}; for {partitions} partitions: sudo sysctl vm.max_map_count={4 * partitions}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < 4 * partitions:
        raise RuntimeError(f"a process may have {files} open files; for {partitions} partitions: ulimit -n {4 * partitions}")


def syncs_per_second(folder, growing, seconds=1.5):
    """fdatasync of 512 bytes each: behind the end of a file, or over what stands there already."""
    path = Path(folder) / "syncs"
    block, blocks = os.urandom(512), 8192
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        if not growing:
            os.write(file, block * blocks)
            os.fsync(file)
        count, start = 0, time.monotonic()
        while time.monotonic() - start < seconds:
            os.pwrite(file, block, (count if growing else count % blocks) * len(block))
            os.fdatasync(file)
            count += 1
        return count / (time.monotonic() - start)
    finally:
        os.close(file)
        path.unlink()


def description(folder):
    """Processor, memory, kernel, disk, and whether it was quiet."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    gib = int(memory.group(1)) / 2**20 if memory else 0
    growing, recycled = (syncs_per_second(folder, growing) for growing in (True, False))
    return (
        f"{os.cpu_count()} cores of {model.group(1).strip() if model else platform.machine()}, {gib:.0f} GiB, "
        f"Linux {platform.release()}, {file_system(folder)} "
        f"({growing:,.0f} fdatasync/s on a growing file, {recycled:,.0f} on a recycled one); "
        f"load average before the run: {os.getloadavg()[0]:.2f}"
    )


def memory_mib(pid):
    """Resident set and proportional share of a process, in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(re.search(rf"^{name}:\s*(\d+) kB", rollup, re.MULTILINE).group(1)) for name in ("Rss", "Pss")}
    return kib["Rss"] / 1024, kib["Pss"] / 1024


def cpu_seconds(pids):
    """Processor time of these processes so far, user and system."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def forget_peaks(pids):
    """Begins `peak_mib` anew."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pids):
    """The largest resident set that any of these had since, in MiB."""
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return max(int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE).group(1)) for status in statuses) / 1024


def disk_mib(folder):
    """What the files there take of the disk, holes left out, in MiB."""
    blocks = 0
    for path in Path(folder).rglob("*"):
        try:
            blocks += path.lstat().st_blocks
        except FileNotFoundError:  # Servers that run delete files.
            pass
    return blocks * 512 / 2**20


class Spent:
    """Processor time of processes, looked at while a load runs: what they used before its end, however long it took to begin."""

    PAUSE = 0.05

    def __init__(self, pids):
        self.pids, self.seen, self.over = pids, [], threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        while not self.over.wait(self.PAUSE):
            self._see()

    def _see(self):
        self.seen.append((time.monotonic(), cpu_seconds(self.pids)))

    def __enter__(self):
        self._see()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def last(self, seconds, behind=0.0):
        """In so many seconds, which ended so many before now."""
        self._see()
        end = self.seen[-1][0] - behind
        (from_, before), (until, used) = (min(self.seen, key=lambda seen: abs(seen[0] - at)) for at in (end - seconds, end))
        return (used - before) * seconds / (until - from_)
