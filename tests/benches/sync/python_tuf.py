"""python-tuf as a client to be timed: a line says what to do, a line answers with the seconds.

A line is `<base URL> <trusted root's file> <folder>`. The three files that a device reads are
wanted; what the folder holds is what is known.
"""

import pathlib
import sys
import time

from tuf.ngclient import Updater

WANTED = ("limits.json", "recovery-kit.json", "catalogs/default.json")

for line in sys.stdin:
    base, root, folder = line.split()
    folder = pathlib.Path(folder)
    began = time.perf_counter()
    for part in ("metadata", "targets"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    updater = Updater(
        metadata_dir=str(folder / "metadata"),
        metadata_base_url=f"{base}/metadata/",
        target_dir=str(folder / "targets"),
        target_base_url=f"{base}/targets/",
        bootstrap=pathlib.Path(root).read_bytes(),
    )
    for path in WANTED:
        target = updater.get_targetinfo(path)
        assert target is not None, path
        if updater.find_cached_target(target) is None:
            updater.download_target(target)
    print(time.perf_counter() - began, flush=True)
