"""Stopped before every call to the system that touches a file, and refused every one.

`strace` kills the client at the entry of the n-th call of a kind, or makes that call fail, for
every n that there is. What of it the disk would lose with the power is tested with the code that
writes (`shared/api/src/files`). Whatever was kept is the old file or the new one, whole, and the next run
goes on from it.
"""

import shutil

from case import Case

RENAME = "rename,renameat,renameat2"
REMOVE = "unlink,unlinkat"
#: What a step of a replacement ends in: with each of them the one before it is done.
CALLS = ("write", "fsync", RENAME)
ERRORS = {"write": "ENOSPC", "fsync": "EIO", RENAME: "EDQUOT"}


class Stops(Case):
    #: What may be neither the old nor the new, but gone.
    fallen = ()

    def setUp(self):
        """A client that knows a repository, and one in which everything is new."""
        self.start()
        self.repo.delegate("targets", "A")
        self.repo.add_file("file", b"old", "A")
        self.repo.publish("root", "A", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("file"))
        self.known = self.folder / "known"
        for name in ("metadata", "targets"):
            shutil.copytree(self.folder / name, self.known / name)
        self.old = self.kept()
        self.repo.add_file("file", b"new", "A")
        self.change()
        self.repo.publish("root", "A", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("file"))
        self.new = self.kept()
        for name in self.old:
            self.assertNotEqual(self.old[name], self.new[name], name)

    def change(self):
        """What else is new."""

    def kept(self):
        """All files but temporary ones, which a killed program cannot remove."""
        folders = (self.metadata, self.targets)
        files = (file for folder in folders for file in folder.iterdir())
        return {
            f"{file.parent.name}/{file.name}": file.read_bytes()
            for file in files
            if not (file.name.startswith(".") and file.name.endswith(".tmp"))
        }

    def again(self):
        for name in ("metadata", "targets"):
            shutil.rmtree(self.folder / name)
            shutil.copytree(self.known / name, self.folder / name)

    def check(self, what):
        kept = self.kept()
        self.assertLessEqual(kept.keys(), self.old.keys(), what)
        self.assertLessEqual(self.old.keys() - kept.keys(), set(self.fallen), what)
        for name, content in kept.items():
            self.assertIn(content, (self.old[name], self.new[name]), f"{what}: {name}")
        self.succeeds(self.download("file"))
        self.assertEqual(self.kept(), self.new, what)

    def under(self, calls, *more):
        """Runs the client from what it knew, watched or disturbed at these calls."""
        self.again()
        log = self.folder / "calls"
        self.prefix = ["strace", "-f", "-o", log, "-e", f"trace={calls}", *more]
        try:
            return self.download("file"), log.read_text()
        finally:
            self.prefix = []

    def each(self, calls):
        """The numbers of these calls in a whole run."""
        code, log = self.under(calls)
        self.succeeds(code)
        names = [f"{name}(" for name in calls.split(",")]
        return range(1, 1 + sum(any(name in line for name in names) for line in log.splitlines()))

    def kill(self, kinds):
        """Kills it before each call of these kinds, and says how many kills there were of each."""
        stops = {}
        for calls in kinds:
            for number in self.each(calls):
                code, _ = self.under(calls, "-e", f"inject={calls}:signal=KILL:when={number}")
                # Two threads count for themselves.
                if code != 0:
                    self.assertIn(code, (-9, 137), self.said)
                    stops[calls] = stops.get(calls, 0) + 1
                self.check(f"killed before {calls} {number}")
        return stops


class Persisting(Stops):
    def test_killed_before_any_call_it_leaves_the_old_or_the_new(self):
        stops = self.kill(CALLS)
        # Root, timestamp, snapshot, targets, the delegated role and the file: each is written,
        # synced, renamed, and its folder synced.
        self.assertGreaterEqual(stops["write"], 6)
        self.assertGreaterEqual(stops["fsync"], 12)
        self.assertGreaterEqual(stops[RENAME], 6)

    def test_where_any_call_fails_it_leaves_the_old_or_the_new(self):
        for calls, error in ERRORS.items():
            failures = 0
            for number in self.each(calls):
                code, _ = self.under(calls, "-e", f"inject={calls}:error={error}:when={number}")
                failures += code != 0
                left = [name.name for name in self.folder.glob("*/.*.tmp")]
                self.assertEqual(left, [], f"{error} at {calls} {number}")
                self.check(f"{error} at {calls} {number}")
            self.assertGreaterEqual(failures, 6, f"{error} at {calls}")


class Recovering(Stops):
    """New keys of the timestamp and the snapshot, whose old files go, and versions that begin anew."""

    fallen = ("metadata/timestamp.json", "metadata/snapshot.json")

    def change(self):
        for role in ("timestamp", "snapshot"):
            self.repo.replace_keys(role)
        for role in ("timestamp", "snapshot", "targets"):
            self.repo.roles[role].version = 0

    def test_killed_before_any_call_it_leaves_the_old_or_the_new_or_nothing_of_what_fell(self):
        stops = self.kill((REMOVE, RENAME))
        self.assertGreaterEqual(stops[REMOVE], 2)
        self.assertGreaterEqual(stops[RENAME], 6)
