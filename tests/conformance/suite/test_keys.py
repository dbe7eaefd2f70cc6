"""Who may sign: thresholds, rotations, kinds of keys."""

import itertools
import json

from case import Case
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey


def p384():
    return CryptoSigner(ec.generate_private_key(ec.SECP384R1()))



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
    "another three": ([0, 1, 2, 3, 4], 3, [0, 4, 1], True),
    "the first two and a third": ([0, 1, 2, 3, 4], 3, [0, 1, 3], True),
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
        # All anew, or the role alone under the same version, as after a theft.
        cases = itertools.product(OTHERS.items(), ("timestamp", "snapshot", "targets"), (True, False))
        for (name, (keys, threshold, signers, right)), role, anew in cases:
            with self.subTest(name, role=role, anew=anew):
                repo = self.start()
                self.succeeds(self.refresh())
                self.give(role, keys, threshold, signers)
                if anew:
                    repo.publish("root", "targets", "snapshot", "timestamp")
                else:
                    repo.publish("root")
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
        # The old snapshot is no longer signed as the root wants it, either.
        self.assert_trusts(2, 2, targets=1)
        repo.add_key("snapshot", sign=False)
        repo.publish("root", "snapshot", "timestamp")
        self.fails(self.refresh())
        repo.add_key("snapshot")
        repo.publish("root", "snapshot", "timestamp")
        self.succeeds(self.refresh())
        self.assertEqual(self.trusted()["snapshot"], 4)

    def test_a_key_that_signs_twice_is_refused_also_where_once_is_enough(self):
        for threshold in (2, 1):
            repo = self.start()
            repo.add_key("snapshot", sign=False)
            repo.root.roles["snapshot"].threshold = threshold
            repo.publish("root")
            repo.change_signatures("1.snapshot.json", lambda all: all.extend(list(all)))
            self.fails(self.refresh())
            self.assert_trusts(2, 1)

    def test_a_key_that_is_named_many_times_counts_once(self):
        for signs in (1, 9):
            repo = self.start()
            content = json.loads(repo.files["metadata/1.root.json"])["signed"]
            role = content["roles"]["snapshot"]
            role["keyids"] *= 9
            role["threshold"] = 6
            content["version"] = 2
            repo.files["metadata/2.root.json"] = self.signed_by("root", content)
            repo.change_signatures(
                "1.snapshot.json", lambda all, signs=signs: all.extend((signs - 1) * list(all))
            )
            self.fails(self.refresh())
            self.assertNotIn("snapshot", self.trusted())

    def test_one_key_under_many_ids_reaches_no_threshold(self):
        for signs in (1, 9):
            repo = self.start()
            self.succeeds(self.refresh())
            signer = CryptoSigner.generate_ecdsa()
            public = signer.public_key
            repo.signers["snapshot"] = [signer]
            repo.root.add_key(public, "snapshot")
            for number in range(8):
                copy = SSlibKey(f"{number:064}", public.keytype, public.scheme, public.keyval)
                repo.root.add_key(copy, "snapshot")
            repo.root.roles["snapshot"].threshold = 6
            repo.publish("root", "snapshot", "timestamp")
            ids = [f"{number:064}" for number in range(signs - 1)]
            repo.change_signatures(
                "2.snapshot.json",
                lambda all, ids=ids: all.extend({**all[0], "keyid": id} for id in ids),
            )
            self.fails(self.refresh())
            self.assertEqual(self.trusted()["snapshot"], 1)

    def test_one_key_under_two_ids_reaches_no_threshold_of_a_delegation(self):
        repo = self.start()
        repo.delegate("targets", "A")
        repo.add_file("file", b"content", "A")
        public = repo.signers["A"][0].public_key
        copy = SSlibKey("0" * 64, public.keytype, public.scheme, public.keyval)
        repo.targets.add_key(copy, "A")
        repo.targets.delegations.roles["A"].threshold = 2
        repo.publish("A", "targets", "snapshot", "timestamp")
        repo.change_signatures(
            "1.A.json", lambda all: all.append({**all[0], "keyid": "0" * 64})
        )
        self.fails(self.download("file"))
        self.assertEqual(self.downloaded(), [])

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

    def test_ed25519_and_ecdsa_p256_and_p384_sign_every_role(self):
        for signer in (CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), p384()):
            self.succeeds(self.with_key(signer))

    def test_of_each_kind_a_signature_that_looks_right_and_is_wrong_does_not_count(self):
        for generate in (CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, p384):
            repo = self.start()
            signer = repo.add_key("root", generate())
            repo.root.roles["root"].threshold = 2
            repo.publish("root")
            self.succeeds(self.refresh())
            self.assertEqual(self.trusted()["root"], 2)
            repo.publish("root")
            # Made by another key over the same bytes.
            other = generate()
            repo.signers["root"][-1] = other
            wrong = json.loads(repo.sign("root"))["signatures"][-1]["sig"]
            repo.signers["root"][-1] = signer

            def replace(all, wrong=wrong):
                all[-1]["sig"] = wrong

            repo.change_signatures("3.root.json", replace)
            self.fails(self.refresh())
            self.assertEqual(self.trusted()["root"], 2)

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

    def test_beside_enough_signatures_one_that_is_wrong_or_empty_or_none_at_all_does_no_harm(self):
        repo = self.start()
        other = repo.add_key("timestamp", sign=False).public_key.keyid
        repo.publish("root")
        wrong = json.loads(repo.files["metadata/1.snapshot.json"])["signatures"][0]["sig"]
        for version, sig in enumerate(("", wrong, "00", "no hexadecimal digits"), 2):
            repo.publish("timestamp")
            repo.change_signatures(
                "timestamp.json",
                lambda all, sig=sig: all.insert(0, {"keyid": other, "sig": sig}),
            )
            self.succeeds(self.refresh())
            self.assert_trusts(2, version, 1, 1)
