"""What each case stands on: a repository, a door, and the client under test.

The client's command line is that of theupdateframework/tuf-conformance. Its path is in the
variable TUF_CLIENT.
"""

import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from repository import Door, Repository


class Case(unittest.TestCase):
    #: What the client is run under.
    prefix = ()

    def start(self, init=True, **options):
        """A repository behind a door, and a client that trusts its first root."""
        self.repo = Repository(**options)
        self.door = Door(self.repo)
        self.addCleanup(self.door.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.metadata = self.folder / "metadata"
        self.targets = self.folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        if init:
            self.assertEqual(self.init(), 0)
        return self.repo

    # The client.

    def client(self, *arguments, day=None):
        command = [*self.prefix, os.environ["TUF_CLIENT"], *map(str, arguments)]
        if day is not None:
            moment = datetime.datetime.now() + datetime.timedelta(days=day)
            command = ["faketime", moment.strftime("%Y-%m-%d %H:%M:%S"), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.said = done.stderr
        return done.returncode

    def init(self, root=None):
        file = self.folder / "first.json"
        file.write_bytes(root or self.repo.files["metadata/1.root.json"])
        return self.client("--metadata-dir", self.metadata, "init", file)

    def refresh(self, day=None):
        del self.repo.asked[:]
        url = f"{self.door.url}/metadata"
        return self.client(
            "--metadata-url", url, "--metadata-dir", self.metadata, "refresh", day=day
        )

    def download(self, *names, day=None):
        del self.repo.asked[:]
        wanted = [part for name in names for part in ("--target-name", name)]
        return self.client(
            "--metadata-dir",
            self.metadata,
            "--metadata-url",
            f"{self.door.url}/metadata/",
            *wanted,
            "--target-base-url",
            f"{self.door.url}/targets/",
            "--target-dir",
            self.targets,
            "download",
            day=day,
        )

    # What it has.

    def trusted(self):
        """The versions of all metadata that the client keeps."""
        found = {}
        for file in sorted(self.metadata.glob("*.json")):
            # Not by python-tuf, which does not read all that is allowed.
            found[file.stem] = json.loads(file.read_bytes())["signed"]["version"]
        return found

    def downloaded(self):
        files = (path for path in self.targets.rglob("*") if path.is_file())
        return sorted(path.read_bytes() for path in files)

    def downloaded_in_order(self):
        """The same, by when they were written last."""
        files = (path for path in self.targets.rglob("*") if path.is_file())
        files = sorted(files, key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in files]

    # Assertions.

    def succeeds(self, code):
        self.assertEqual(code, 0, self.said)

    def fails(self, code):
        self.assertEqual(code, 1, "the client should have refused")

    def assert_trusts(self, root, timestamp=None, snapshot=None, targets=None, **delegated):
        expected = {"root": root, "timestamp": timestamp, "snapshot": snapshot, "targets": targets}
        expected = {role: version for role, version in expected.items() if version is not None}
        self.assertEqual(self.trusted(), {**expected, **delegated})

    def assert_keeps_bytes(self, *roles):
        """What it keeps is byte for byte what was published last."""
        for role in roles:
            kept = (self.metadata / f"{role}.json").read_bytes()
            self.assertEqual(kept, self.repo.before[role], role)
