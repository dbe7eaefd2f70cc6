"""Refreshes with python-tuf from a front door and downloads a catalog and the recovery kit.

Arguments: the door's base URL, the trusted root's file, an empty folder. Prints what it found as
JSON; any refusal is an exception.
"""

import json
import pathlib
import sys

from tuf.ngclient import Updater

door, root, folder = sys.argv[1:]
folder = pathlib.Path(folder)
(folder / "metadata").mkdir(parents=True)
(folder / "targets").mkdir()

updater = Updater(
    metadata_dir=str(folder / "metadata"),
    metadata_base_url=f"{door}/metadata/",
    target_dir=str(folder / "targets"),
    target_base_url=f"{door}/targets/",
    bootstrap=pathlib.Path(root).read_bytes(),
)
updater.refresh()


def download(path):
    target = updater.get_targetinfo(path)
    assert target is not None, f"no role lists {path}"
    return json.loads(pathlib.Path(updater.download_target(target)).read_text())


catalog = download("catalogs/default.json")
kit = download("recovery-kit.json")
print(
    json.dumps(
        {
            "slices": [part["kind"] for part in catalog["slices"]],
            "version": catalog["version"],
            "kit_doors": len(kit["front_doors"]),
        }
    )
)
