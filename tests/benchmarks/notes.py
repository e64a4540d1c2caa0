"""What the figures of the page do not say by themselves: why some of what was wanted was not reached."""

from __future__ import annotations

__all__ = ["NOTES"]

NOTES = """\
### What is not reached, or not in every run, and why

- **A write of 2 KiB: 1.05 x raw.** What is left over the raw system calls is about 30 us, measured as time of the
  processor, most of it with cold caches after the wait for the disk: the version, which every write returns, takes
  10 us (SHA-256); a name that no other writer has, the look at the old document whose mode and owner are kept, and the
  look whether the directory is still the one that was made durable take 15 us together; the layers between the call
  and the system take the rest. Functions on that path were merged and the plugin manager's detour was removed.
- **A write of 1 MiB: 1.05 x raw.** The version of 1 MiB takes 0.6 ms, and this disk is done with the data in 0.45 ms.
  It is computed while the disk works, which took the ratio from 1.4 to 1.1 or 1.2; where the disk is slower, all of it
  disappears behind the disk. Computing it in a thread was tried: on an idle machine it was no better for 1 MiB (1.10
  to 1.12 x) and worse for 64 KiB (1.15 instead of 1.03 x). A write that returns its version cannot do without it.
- **6 x as fast as `filelock.FileLock`.** The limit assumed 71 to 128 us for `FileLock`; the release that was measured
  takes 67 us when it is used over and over. The bare system calls of a lock with its owner's record and the lock that
  clients of a Samba server see, nine of them, take 9.7 us; the Python around them was brought down from 8 to 5 us.
- **A lock: 4 x open, flock, close.** It is reached where nothing else runs between (`run.py`), and missed by a little
  where five other lockers take turns with it. The look whether the lock file is a hard link to something else costs
  2 us of it: after it, the kernel has to give the next write a time stamp of its own.
- **An update: 1.15 x.** It is a lock, a read and a write, and their differences add up: 26 us where nothing waits for
  a disk (tmpfs), and 80 us of the processor's time on a disk, where the caches are cold after each of the two waits. It
  looks once, right before the rename, and no longer twice, whether the lock is still held.
- **0.9 x the throughput of a blocking flock with 8 processes.** A lock that can time out and be cancelled has to be
  asked for again and again. Waiters ask every 0.1 to 0.3 ms for the first 50 ms, the longer they have waited the more
  often; asking more often than that gained little. On two processors, of which eight processes and whatever else runs
  there want a share, the ratio was between 0.8 and 1.0 from run to run.
- **Reading a catalogue of 10,000: 3 x.** 3.8 to 4.2 x here, where this package finds memory that others have left to
  the process, and 2.9 to 3.0 x in `run.py`, where only the two take turns: there each asks the system for memory anew,
  which is 930 page faults, or 2 ms, for this package, and twice as many for the other.
- **Import: 50 ms.** 46 to 52 ms from run to run, half of them for `msgspec`, `typing` and `inspect`, which `pluggy` and
  `msgspec` load. What only some programs need (`anyio`, `hashlib`, `importlib.metadata`, the backends) is loaded when
  it is used.

Three runs in a row, on one virtual machine whose load was between 0.6 and 1.6: a write of 2 KiB took 1.09 x raw each
time, one of 1 MiB 1.12 to 1.20 x, a lock 4.04 to 4.12 x, an update 1.18 to 1.26 x, and eight processes got 0.87 to 0.92
of the locks that a blocking flock gave them. The last of the three is shown."""
