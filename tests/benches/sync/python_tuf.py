"""python-tuf as a client to be timed: prints after how many seconds what it verified was kept,
its start not counted.

Arguments: the base URL, a folder with the trusted root, which also keeps what is known. The three
files that a device reads are wanted.
"""

import pathlib
import sys
import time

from tuf.ngclient import Updater

WANTED = ("limits.json", "recovery-kit.json", "catalogs/default.json")

base, folder = sys.argv[1], pathlib.Path(sys.argv[2])
began = time.perf_counter()
for part in ("metadata", "targets"):
    (folder / part).mkdir(exist_ok=True)
updater = Updater(
    metadata_dir=str(folder / "metadata"),
    metadata_base_url=f"{base}/metadata/",
    target_dir=str(folder / "targets"),
    target_base_url=f"{base}/targets/",
    bootstrap=(folder / "trusted.json").read_bytes(),
)
for path in WANTED:
    target = updater.get_targetinfo(path)
    assert target is not None, path
    if updater.find_cached_target(target) is None:
        updater.download_target(target)
print(time.perf_counter() - began)
