"""Where a file is looked for, and what of it is downloaded."""

import hashlib

from case import Case
from repository import days
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import MetaFile

# Delegations as (delegator, role, options), and the roles that are read for a file that nobody has.
GRAPHS = {
    "one": ([("targets", "A", {})], "A"),
    "two": ([("targets", "A", {}), ("targets", "B", {})], "AB"),
    "two levels": (
        [("targets", "A", {}), ("targets", "B", {}), ("B", "C", {})],
        "ABC",
    ),
    "depth before breadth": (
        [("targets", "A", {}), ("targets", "B", {}), ("A", "C", {}), ("A", "D", {})],
        "ACDB",
    ),
    "three levels": (
        [("targets", "A", {}), ("targets", "B", {}), ("A", "C", {}), ("C", "D", {})],
        "ACDB",
    ),
    "a terminating one ends all others": (
        [
            ("targets", "A", {}),
            ("targets", "B", {}),
            ("A", "C", {"terminating": True}),
            ("A", "D", {}),
        ],
        "AC",
    ),
    "its own are still followed": (
        [
            ("targets", "A", {}),
            ("targets", "B", {}),
            ("A", "C", {"terminating": True}),
            ("C", "D", {}),
        ],
        "ACD",
    ),
    "paths that do not match": (
        [("targets", "A", {"paths": ["*.py"]}), ("targets", "B", {}), ("A", "C", {})],
        "B",
    ),
    "paths that do not match, two levels down": (
        [
            ("targets", "A", {}),
            ("targets", "B", {}),
            ("A", "C", {"paths": ["*.py"]}),
            ("C", "D", {}),
        ],
        "AB",
    ),
    "a terminating one that does not match ends nothing": (
        [("targets", "A", {"paths": ["*.py"], "terminating": True}), ("targets", "B", {})],
        "B",
    ),
    "a circle": (
        [
            ("targets", "A", {}),
            ("targets", "B", {}),
            ("B", "C", {}),
            ("C", "D", {}),
            ("D", "B", {}),
        ],
        "ABCD",
    ),
    "two ways to one": (
        [("targets", "A", {}), ("targets", "B", {}), ("B", "C", {}), ("A", "C", {})],
        "ACB",
    ),
    "two ways of which one is closed": (
        [
            ("targets", "A", {}),
            ("targets", "B", {}),
            ("B", "C", {}),
            ("A", "C", {"paths": ["*.py"]}),
        ],
        "ABC",
    ),
}


class Delegated(Case):
    def delegate(self, edges):
        for delegator, role, options in edges:
            self.repo.delegate(delegator, role, **options)
        roles = dict.fromkeys(role for _, role, _ in edges)
        self.repo.publish(*roles, "targets", "snapshot", "timestamp")

    def read_roles(self):
        return [name.split(".", 1)[1] for name in self.repo.asked_roles()[4:]]

    def test_roles_are_visited_in_pre_order(self):
        for name, (edges, visited) in GRAPHS.items():
            with self.subTest(name):
                self.start()
                self.delegate(edges)
                self.fails(self.download("nowhere"))
                self.assertEqual("".join(self.read_roles()), visited)

    def test_a_file_is_found_where_every_delegation_on_the_way_matches(self):
        for path, role, visited in (
            ("top", "targets", ""),
            ("README.md", "A", "A"),
            ("releases/x/x_v1", "C", "BC"),
            ("releases/y/y_v1.zip", "D", "BD"),
            ("releases/z/z_v1.zip", None, "B"),
            ("releases/x/deeper/x_v1", None, ""),
        ):
            with self.subTest(path):
                repo = self.start()
                repo.delegate("targets", "A", paths=["*.doc", "*.md"])
                repo.delegate("targets", "B", paths=["releases/*/*"])
                repo.delegate("B", "C", paths=["releases/x/*"])
                repo.delegate("B", "D", paths=["releases/y/*.zip"])
                # What a role lists outside its paths is not found.
                repo.add_file(path, path.encode(), role or "D")
                repo.publish(*"CDBA", "targets", "snapshot", "timestamp")
                (self.succeeds if role else self.fails)(self.download(path))
                self.assertEqual("".join(self.read_roles()), visited)
                self.assertEqual(self.downloaded(), [path.encode()] if role else [])

    def test_hash_prefixes_decide_as_paths_do(self):
        repo = self.start()
        digest = hashlib.sha256(b"file").hexdigest()
        other = "0" if digest[0] != "0" else "1"
        repo.delegate("targets", "A", path_hash_prefixes=[other])
        repo.delegate("targets", "B", path_hash_prefixes=[digest[:3]])
        repo.add_file("file", b"content", "B")
        repo.publish("A", "B", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("file"))
        self.assertEqual(self.read_roles(), ["B"])

    def test_one_delegation_and_no_two_have_a_name(self):
        repo = self.start()
        repo.delegate("targets", "A", paths=["a/*"])
        repo.delegate("targets", "B", paths=["b/*"])
        repo.add_file("b/file", b"content", "A")
        # python-tuf would not make one: who may sign the first would sign for the second.
        repo.targets.delegations.roles["B"].name = "A"
        repo.publish("A", "targets", "snapshot", "timestamp")
        self.fails(self.download("b/file"))
        self.assertEqual(self.downloaded(), [])

    def test_a_delegated_role_needs_its_delegators_keys(self):
        repo = self.start()
        repo.delegate("targets", "A")
        repo.add_file("file", b"content", "A")
        right = repo.signers["A"]
        repo.signers["A"] = repo.signers["targets"]
        repo.publish("A", "targets", "snapshot", "timestamp")
        self.fails(self.download("file"))
        self.assertNotIn("A", self.trusted())
        repo.signers["A"] = right
        repo.publish("A", "snapshot", "timestamp")
        self.succeeds(self.download("file"))

    def test_new_keys_of_a_delegation_are_followed(self):
        repo = self.start()
        repo.delegate("targets", "A")
        repo.add_file("file", b"content", "A")
        repo.publish("A", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("file"))
        repo.targets.delegations.roles["A"].keyids.clear()
        repo.signers["A"] = []
        repo.add_key("A", delegator="targets")
        repo.publish("A", bump=False)
        repo.publish("targets", "snapshot", "timestamp")
        self.succeeds(self.download("file"))
        self.assert_keeps_bytes("A")

    def test_a_delegated_role_never_gets_older(self):
        repo = self.start()
        repo.delegate("targets", "A")
        repo.publish("A")
        repo.publish("A", "targets", "snapshot", "timestamp")
        self.fails(self.download("nowhere"))
        repo.roles["A"].version = 0
        repo.publish("A", "snapshot", "timestamp")
        self.fails(self.refresh())
        self.assert_trusts(1, 3, 2, 2, A=2)

    def test_a_role_that_the_snapshot_does_not_pin_hides_none_of_lower_priority(self):
        repo = self.start()
        repo.delegate("targets", "A")
        repo.delegate("targets", "B")
        repo.add_file("file", b"content", "B")
        repo.publish("A", "B", "targets")
        del repo.snapshot.meta["A.json"]
        repo.publish("snapshot", "timestamp")
        self.fails(self.download("file"))
        self.assertEqual(self.read_roles(), [])

    def test_a_search_visits_so_many_roles_and_no_more(self):
        repo = self.start()
        roles = [f"r{number:02}" for number in range(60)]
        for role in roles:
            repo.delegate("targets", role)
        repo.add_file("file", b"content", roles[-1])
        repo.publish(*roles, "targets", "snapshot", "timestamp")
        self.fails(self.download("file"))
        self.assertLessEqual(len(self.read_roles()), 32)

    def test_a_role_with_any_name_is_one_file(self):
        for name in ("?", "#", "/a", "../a", "..", "a%2Fb", "ü b", "2.root", "a.b"):
            with self.subTest(name):
                repo = self.start()
                repo.delegate("targets", name)
                repo.add_file("file", b"content", name)
                repo.publish(name, "targets", "snapshot", "timestamp")
                self.succeeds(self.download("file"))
                self.assertEqual(len(self.trusted()), 5)
                self.assertEqual(sorted(self.folder.glob("*.json")), [self.folder / "first.json"])
                # It is known by that name the next time.
                self.succeeds(self.download("file"))
                self.assertEqual(repo.asked_roles(), ["2.root", "timestamp"])

    def test_no_delegated_role_takes_the_name_of_a_top_level_one(self):
        repo = self.start()
        for name in ("root", "timestamp", "snapshot"):
            repo.delegate("targets", f"x{name}")
            # python-tuf would not make one.
            roles = repo.targets.delegations.roles
            roles[name] = roles.pop(f"x{name}")
            roles[name].name = name
            repo.snapshot.meta[f"{name}.json"] = MetaFile(1)
        repo.publish_all()
        self.fails(self.download("nowhere"))
        self.assert_trusts(1, 2, 2, 2)
        self.assert_keeps_bytes("root", "timestamp", "snapshot")


# The number of bits that choose a bin, a path, and its bin.
BINS = (
    (1, "boo", "bin-0"),
    (1, "too", "bin-1"),
    (2, "foo", "bin-0"),
    (2, "doo", "bin-1"),
    (2, "too", "bin-2"),
    (2, "bar", "bin-3"),
    (5, "bar", "bin-1f"),
    (8, "bar", "bin-fc"),
)


class Bins(Case):
    """Roles by the hash of a path, all with the same keys (TAP 15)."""

    def start_in_bins(self, bits, **options):
        repo = self.start(**options)
        self.names = repo.delegate_bins("targets", bits)
        return repo

    def publish(self):
        self.repo.publish(*self.names, "targets", "snapshot", "timestamp")

    def test_a_path_is_looked_for_in_its_bin_and_no_other(self):
        for bits, path, name in BINS:
            for there in (True, False):
                with self.subTest(path, bits=bits, there=there):
                    repo = self.start_in_bins(bits)
                    if there:
                        repo.add_file(path, b"content", name)
                    self.publish()
                    self.succeeds(self.refresh())
                    code = self.download(path)
                    (self.succeeds if there else self.fails)(code)
                    self.assertEqual(repo.asked_roles()[2:3], [f"1.{name}"])
                    self.assertEqual(self.downloaded(), [b"content"] if there else [])
                    self.assert_trusts(1, 2, 2, 2, **{name: 1})
                    self.assert_keeps_bytes(name)

    def test_a_known_bin_is_not_asked_for_again(self):
        for hashes in (False, True):
            repo = self.start_in_bins(2, hashes=hashes)
            repo.add_file("bar", b"content", "bin-3")
            self.publish()
            self.succeeds(self.download("bar", "bar"))
            self.succeeds(self.download("bar"))
            self.assertEqual(repo.asked, ["metadata/2.root.json", "metadata/timestamp.json"])

    def test_a_bin_does_not_list_for_another(self):
        repo = self.start_in_bins(2)
        repo.add_file("bar", b"content", "bin-0")
        self.publish()
        self.fails(self.download("bar"))
        self.assertEqual(self.downloaded(), [])

    def test_a_bin_needs_its_delegators_keys_and_threshold(self):
        for wrong in ("keys", "threshold", "one key under two ids"):
            with self.subTest(wrong):
                repo = self.start_in_bins(2)
                repo.add_file("bar", b"content", "bin-3")
                signer = repo.signers["bin-3"][0]
                bins = repo.targets.delegations.succinct_roles
                if wrong == "keys":
                    repo.signers["bin-3"] = [CryptoSigner.generate_ecdsa()]
                else:
                    bins.threshold = 2
                self.publish()
                if wrong == "one key under two ids":
                    public = signer.public_key
                    copy = SSlibKey("0" * 64, public.keytype, public.scheme, public.keyval)
                    repo.targets.add_key(copy)
                    repo.publish_all()
                    repo.change_signatures(
                        "1.bin-3.json", lambda all: all.append({**all[0], "keyid": "0" * 64})
                    )
                self.fails(self.download("bar"))
                self.assertEqual(self.downloaded(), [])
                self.assertNotIn("bin-3", self.trusted())

    def test_a_bin_that_is_expired_or_not_the_pinned_one_is_refused(self):
        for wrong in ("expired", "version", "hash", "not pinned"):
            with self.subTest(wrong):
                repo = self.start_in_bins(2, hashes=wrong == "hash")
                repo.add_file("bar", b"content", "bin-3")
                if wrong == "expired":
                    repo.roles["bin-3"].expires = days(-1)
                self.publish()
                if wrong == "version":
                    repo.roles["bin-3"].version = 2
                    repo.files["metadata/1.bin-3.json"] = repo.sign("bin-3")
                elif wrong == "hash":
                    repo.files["metadata/1.bin-3.json"] += b" "
                elif wrong == "not pinned":
                    del repo.snapshot.meta["bin-3.json"]
                    repo.publish("snapshot", "timestamp")
                self.fails(self.download("bar"))
                self.assertEqual(self.downloaded(), [])
                self.assertNotIn("bin-3", self.trusted())

    def test_a_bin_never_gets_older(self):
        repo = self.start_in_bins(1)
        self.publish()
        self.publish()
        self.fails(self.download("too"))
        self.assertEqual(self.trusted()["bin-1"], 2)
        repo.roles["bin-1"].version = 0
        repo.publish("bin-1", "snapshot", "timestamp")
        self.fails(self.download("too"))
        self.assertEqual(self.trusted()["bin-1"], 2)

    def test_bins_of_a_role_below_the_top_are_followed_where_it_may_list(self):
        repo = self.start()
        repo.delegate("targets", "A", paths=["a/*"])
        names = repo.delegate_bins("A", 1)
        for name in names:
            repo.add_file("a/file", b"content", name)
            repo.add_file("b/file", b"content", name)
        repo.publish(*names, "A", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("a/file"))
        self.fails(self.download("b/file"))
        self.assertEqual(self.downloaded(), [b"content"])


class Downloads(Case):
    def test_a_file_is_fetched_by_its_hash_and_not_again(self):
        repo = self.start()
        file = repo.add_file("a/b/file.txt", b"content")
        repo.publish_all()
        self.succeeds(self.refresh())
        self.assertEqual(self.downloaded(), [])
        self.succeeds(self.download("a/b/file.txt"))
        self.assertEqual(repo.asked[-1], f"targets/a/b/{file.hashes['sha256']}.file.txt")
        self.assertEqual(self.downloaded(), [b"content"])
        self.succeeds(self.download("a/b/file.txt"))
        self.assertEqual(repo.asked_roles(), ["2.root", "timestamp"])
        self.assertEqual(len(repo.asked), 2)

    def test_a_changed_file_takes_the_place_of_the_old_one(self):
        repo = self.start()
        others = []
        for number in range(11):
            content = b"content %d" % number
            file = repo.add_file("file", content)
            other = b"another %d" % number
            repo.add_file(f"another {number}", other)
            repo.publish_all()
            if number % 5:
                continue
            self.succeeds(self.download("file"))
            self.assertEqual(self.downloaded_in_order(), [*others, content])
            self.succeeds(self.download(f"another {number}"))
            self.assertEqual(self.downloaded_in_order(), [*others, content, other])
            # What is served instead is not taken, and what is there is not written again.
            repo.files[repo.target_path("file", file.hashes["sha256"])] = b"malicious"
            repo.publish_all()
            self.succeeds(self.download("file"))
            self.assertEqual(self.downloaded_in_order(), [*others, content, other])
            others.append(other)

    def test_other_bytes_than_the_signed_ones_are_not_kept(self):
        repo = self.start()
        known = repo.add_file("known", b"content")
        other = repo.add_file("other", b"other")
        repo.publish_all()
        self.succeeds(self.download("known"))
        place = repo.target_path("other", other.hashes["sha256"])
        for wrong in (b"OTHER", b"othe", b"other2", b""):
            repo.files[place] = wrong
            repo.files[repo.target_path("known", known.hashes["sha256"])] = wrong
            self.succeeds(self.download("known"))
            self.fails(self.download("other"))
            self.assertEqual(self.downloaded(), [b"content"])

    def test_a_download_that_was_altered_since_is_fetched_again(self):
        repo = self.start()
        repo.add_file("file", b"content")
        repo.publish_all()
        self.succeeds(self.download("file"))
        (file,) = self.targets.iterdir()
        file.write_bytes(b"CONTENT")
        self.succeeds(self.download("file"))
        self.assertEqual(self.downloaded(), [b"content"])

    def test_any_bytes_are_content(self):
        repo = self.start()
        for path, content in (("empty", b""), ("binary", bytes(range(256)) * 99)):
            repo.add_file(path, content)
        repo.publish_all()
        self.succeeds(self.download("empty", "binary"))
        self.assertEqual(self.downloaded(), [b"", bytes(range(256)) * 99])

    def test_any_target_path_is_one_file_in_the_folder(self):
        paths = ("a b", "ü", "a?b#c", "a%20b", "a+b", "~a", "a:b", "dir/..x", "a\\b", "...", "..a")
        paths += ("-x", "--target-dir", "download", "'", '"', "$HOME", "a\nb", "a;b", "*")
        for path in paths:
            with self.subTest(path):
                repo = self.start()
                repo.add_file(path, b"content")
                repo.publish_all()
                self.succeeds(self.download(path))
                self.assertEqual(self.downloaded(), [b"content"])
                self.succeeds(self.download(path))
                self.assertEqual(len(repo.asked), 2)

    def test_a_path_that_leads_out_of_the_folder_does_not(self):
        for path in ("../escaped", "/tmp/escaped", "a/../../escaped"):
            repo = self.start()
            repo.add_file(path, b"content")
            repo.publish_all()
            self.download(path)
            self.assertEqual(len(list(self.folder.rglob("*escaped*"))), len(self.downloaded()))
            self.assertFalse((self.folder / "escaped").exists())

    def test_files_are_downloaded_in_their_order_by_one_client(self):
        repo = self.start()
        repo.delegate("targets", "A")
        for path in ("one", "two", "three"):
            repo.add_file(path, path.encode(), "A")
        repo.publish("A", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("two", "one", "two"))
        self.assertEqual(repo.asked_roles().count("1.A"), 1)
        names = [path.rsplit(".", 1)[1] for path in repo.asked if path.startswith("targets/")]
        self.assertEqual(names, ["two", "one"])

    def test_the_first_failure_ends_a_download(self):
        repo = self.start()
        files = {path: repo.add_file(path, path.encode()) for path in ("one", "two", "three")}
        repo.publish_all()
        self.fails(self.download("one", "nowhere", "two"))
        self.assertEqual(self.downloaded(), [b"one"])
        self.assertFalse(any("two" in path for path in repo.asked))
        repo.files.pop(repo.target_path("two", files["two"].hashes["sha256"]))
        self.fails(self.download("one", "two", "three"))
        self.assertEqual(self.downloaded(), [b"one"])
        self.assertFalse(any("three" in path for path in repo.asked))

    def test_a_file_may_have_several_hashes(self):
        for algorithms in (("sha512",), ("sha256", "sha512")):
            repo = self.start()
            repo.add_file("file", b"content", algorithms=algorithms)
            repo.publish_all()
            self.succeeds(self.download("file"))
            self.assertEqual(self.downloaded(), [b"content"])
            self.assertEqual(sum(path.startswith("targets/") for path in repo.asked), 1)
        for hashes in ({"sha512": "00" * 64}, {"unknown": "11" * 64}):
            repo = self.start()
            repo.add_file("file", b"content").hashes = hashes
            for value in hashes.values():
                repo.files[repo.target_path("file", value)] = b"content"
            repo.publish_all()
            self.fails(self.download("file"))
            self.assertEqual(self.downloaded(), [])
        repo = self.start()
        file = repo.add_file("file", b"content", algorithms=("sha256", "sha512"))
        file.hashes["sha512"] = "00" * 64
        repo.publish_all()
        self.fails(self.download("file"))
        self.assertEqual(self.downloaded(), [])

    def test_an_endless_file_is_cut_off_at_its_signed_length(self):
        repo = self.start()
        file = repo.add_file("file", b"content")
        repo.publish_all()
        sent = []

        def endless(handler):
            handler.send_response(200)
            handler.end_headers()
            try:
                while sum(sent) < 50_000_000:
                    sent.append(handler.wfile.write(b"c" * 65_536))
            except OSError:
                pass

        self.door.faults[repo.target_path("file", file.hashes["sha256"])] = endless
        self.fails(self.download("file"))
        self.assertLess(sum(sent), 8_000_000)
        self.assertEqual(self.downloaded(), [])
