"""Who may sign: thresholds, rotations, kinds of keys."""

import json

from case import Case
from securesystemslib.signer import CryptoSigner, SSlibKey

# For a role before and after: the numbers of its keys, its threshold, the numbers of who signed.
ROOTS = {
    "another key": ([([1], 1, [1]), ([2], 1, [2, 1]), ([2], 1, [2])], True),
    "signatures that are not asked for": (
        [([1], 1, [3, 1, 4]), ([2], 1, [3, 2, 1, 4]), ([2], 1, [3, 2, 4])],
        True,
    ),
    "three of five, others each time": (
        [([0, 1, 2, 3, 4], 3, who) for who in ([0, 2, 4], [0, 4, 1], [0, 1, 3], [0, 1, 3])],
        True,
    ),
    "three of five, one key replaced": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])],
        True,
    ),
    "one key replaced, in two steps": (
        [
            ([0, 1, 2, 3, 4], 3, [0, 2, 4]),
            ([0, 1, 3, 4, 5], 3, [0, 2, 4, 5]),
            ([0, 1, 3, 4, 5], 3, [0, 4, 5]),
        ],
        True,
    ),
    "all keys replaced": (
        [
            ([0, 1, 2, 3, 4], 3, [0, 2, 4]),
            ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]),
            ([5, 6, 7, 8, 9], 3, [5, 6, 7]),
        ],
        True,
    ),
    "a higher threshold": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])], True),
    "a higher threshold with a new key": ([([1], 1, [1]), ([1, 2], 2, [1, 2])], True),
    "a lower threshold": (
        [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])],
        True,
    ),
    "not by the old key": ([([1], 1, [1]), ([2], 1, [2, 3, 4])], False),
    "not by the new key": ([([1], 1, [1]), ([2], 1, [1, 3, 4])], False),
    "not by enough new keys": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])],
        False,
    ),
    "not by enough old keys": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])],
        False,
    ),
    "a higher threshold that is not reached": (
        [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])],
        False,
    ),
    "a lower threshold that the old one does not allow": (
        [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])],
        False,
    ),
}
OTHERS = {
    "another key": ([2], 1, [2], True),
    "signatures that are not asked for": ([1], 1, [3, 1, 4], True),
    "not by the new key": ([2], 1, [1, 3, 4], False),
    "not by three of the keys": ([0, 1, 3, 4, 5], 3, [0, 2, 4], False),
    "not by enough": ([0, 1, 3, 4, 5], 3, [0, 4], False),
    "three of five": ([0, 1, 2, 3, 4], 3, [0, 2, 4], True),
    "three others": ([0, 1, 2, 3, 4], 3, [1, 2, 3], True),
    "the last three": ([0, 1, 2, 3, 4], 3, [2, 3, 4], True),
}


class Rotations(Case):
    @classmethod
    def setUpClass(cls):
        cls.signers = [CryptoSigner.generate_ed25519() for _ in range(10)]

    def give(self, role, keys, threshold, signers):
        self.repo.root.roles[role].keyids.clear()
        self.repo.root.roles[role].threshold = threshold
        for number in keys:
            self.repo.root.add_key(self.signers[number].public_key, role)
        self.repo.signers[role] = [self.signers[number] for number in signers]

    def test_roots_follow_each_other_only_with_both_thresholds(self):
        for name, (versions, right) in ROOTS.items():
            with self.subTest(name):
                repo = self.start(init=False)
                contents = []
                for version, (keys, threshold, signers) in enumerate(versions, 1):
                    self.give("root", keys, threshold, signers)
                    repo.root.version = version
                    repo.publish("root", bump=False)
                    contents.append(repo.before["root"])
                self.succeeds(self.init(contents[0]))
                (self.succeeds if right else self.fails)(self.refresh())
                kept = (self.metadata / "root.json").read_bytes()
                self.assertEqual(kept, contents[-1 if right else -2])

    def test_every_other_role_needs_its_threshold_of_the_newest_root(self):
        for name, (keys, threshold, signers, right) in OTHERS.items():
            for role in ("timestamp", "snapshot", "targets"):
                with self.subTest(name, role=role):
                    repo = self.start()
                    self.succeeds(self.refresh())
                    self.give(role, keys, threshold, signers)
                    repo.publish("root")
                    # Signed anew under the same version, as after a theft.
                    repo.publish(role, bump=False)
                    if right:
                        self.succeeds(self.refresh())
                        self.assert_keeps_bytes(role)
                    else:
                        self.fails(self.refresh())
                        self.assertEqual(self.trusted()["root"], 2)

    def test_a_client_that_slept_through_many_roots_follows_each(self):
        repo = self.start()
        for _ in range(40):
            repo.replace_keys("timestamp")
            repo.publish("root", "timestamp")
        self.succeeds(self.refresh())
        self.assert_trusts(41, 41, 1, 1)
        self.assertEqual(repo.asked_roles()[:41], [f"{n}.root" for n in range(2, 43)])

    def test_a_gap_in_the_roots_is_their_end_and_a_wrong_number_is_refused(self):
        repo = self.start()
        repo.publish("root")
        repo.publish("root")
        second = repo.files.pop("metadata/2.root.json")
        self.succeeds(self.refresh())
        self.assert_trusts(1, 1, 1, 1)
        repo.files["metadata/2.root.json"] = repo.files["metadata/3.root.json"]
        self.fails(self.refresh())
        self.assert_trusts(1, 1, 1, 1)
        repo.files["metadata/2.root.json"] = second
        self.succeeds(self.refresh())
        self.assert_trusts(3, 1, 1, 1)


class Thresholds(Case):
    def test_keys_that_the_root_names_and_nobody_signs_with_do_not_count(self):
        repo = self.start()
        self.succeeds(self.refresh())
        for _ in range(4):
            repo.add_key("snapshot")
        repo.root.roles["snapshot"].threshold = 6
        repo.publish("root", "snapshot", "timestamp")
        self.fails(self.refresh())
        self.assertEqual(self.trusted()["snapshot"], 1)
        repo.add_key("snapshot", sign=False)
        repo.publish("root", "snapshot", "timestamp")
        self.fails(self.refresh())
        repo.add_key("snapshot")
        repo.publish("root", "snapshot", "timestamp")
        self.succeeds(self.refresh())
        self.assertEqual(self.trusted()["snapshot"], 4)

    def test_a_key_that_signs_twice_counts_once(self):
        repo = self.start()
        repo.add_key("snapshot", sign=False)
        repo.root.roles["snapshot"].threshold = 2
        repo.publish("root")
        content = json.loads(repo.files["metadata/1.snapshot.json"])
        content["signatures"] *= 2
        repo.files["metadata/1.snapshot.json"] = json.dumps(content).encode()
        self.fails(self.refresh())
        self.assert_trusts(2, 1)

    def test_a_key_that_is_named_twice_counts_once(self):
        repo = self.start()
        content = json.loads(repo.files["metadata/1.root.json"])["signed"]
        role = content["roles"]["snapshot"]
        role["keyids"] *= 2
        role["threshold"] = 2
        content["version"] = 2
        repo.files["metadata/2.root.json"] = self.signed_by("root", content)
        self.fails(self.refresh())
        self.assertNotIn("snapshot", self.trusted())

    def test_one_key_under_many_ids_reaches_no_threshold(self):
        repo = self.start()
        self.succeeds(self.refresh())
        signer = CryptoSigner.generate_ecdsa()
        public = signer.public_key
        repo.signers["snapshot"].append(signer)
        repo.root.add_key(public, "snapshot")
        for number in range(8):
            copy = SSlibKey(f"{number:064}", public.keytype, public.scheme, public.keyval)
            repo.root.add_key(copy, "snapshot")
        repo.root.roles["snapshot"].threshold = 6
        repo.publish("root", "snapshot", "timestamp")
        self.fails(self.refresh())
        self.assertEqual(self.trusted()["snapshot"], 1)

    def test_a_threshold_of_nobody_is_refused(self):
        repo = self.start()
        content = json.loads(repo.files["metadata/1.root.json"])["signed"]
        content["roles"]["snapshot"]["threshold"] = 0
        content["version"] = 2
        repo.files["metadata/2.root.json"] = self.signed_by("root", content)
        self.fails(self.refresh())
        self.assertNotIn("snapshot", self.trusted())

    def signed_by(self, role, content):
        """What python-tuf would not write."""
        from securesystemslib.formats import encode_canonical

        signatures = [
            signer.sign(encode_canonical(content).encode()).to_dict()
            for signer in self.repo.signers[role]
        ]
        return json.dumps({"signatures": signatures, "signed": content}).encode()


class Kinds(Case):
    def with_key(self, signer):
        repo = self.start()
        for role in ("root", "timestamp", "snapshot", "targets"):
            repo.root.roles[role].keyids.clear()
            old = repo.signers[role]
            repo.signers[role] = list(old) if role == "root" else []
            repo.add_key(role, signer)
        repo.publish("root", "targets", "snapshot", "timestamp")
        return self.refresh()

    def test_ed25519_and_ecdsa_p256_sign_every_role(self):
        self.succeeds(self.with_key(CryptoSigner.generate_ed25519()))
        self.succeeds(self.with_key(CryptoSigner.generate_ecdsa()))

    def test_rsa_signs_nothing(self):
        self.fails(self.with_key(CryptoSigner.generate_rsa()))

    def test_a_key_of_an_unknown_kind_is_passed_over(self):
        repo = self.start()
        key = SSlibKey("ab" * 32, "future", "future-sign", {"public": "whatever"})
        for role in ("root", "timestamp", "targets"):
            repo.root.add_key(key, role)
        repo.publish("root", "timestamp")
        self.succeeds(self.refresh())
        self.assert_trusts(2, 2, 1, 1)

    def test_the_hash_algorithms_of_old_key_ids_do_not_matter(self):
        repo = self.start()
        key = repo.root.roles["snapshot"].keyids[0]
        repo.root.keys[key].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
        repo.publish("root", "snapshot", "timestamp")
        self.succeeds(self.refresh())

    def test_an_empty_signature_is_none(self):
        repo = self.start()
        other = repo.add_key("timestamp", sign=False)
        repo.publish("root", "timestamp")
        content = json.loads(repo.files["metadata/timestamp.json"])
        content["signatures"].append({"keyid": other.public_key.keyid, "sig": ""})
        repo.files["metadata/timestamp.json"] = json.dumps(content).encode()
        self.succeeds(self.refresh())
